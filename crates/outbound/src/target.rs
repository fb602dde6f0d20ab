use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;
use url::{Host, Url};

use crate::AddressPolicy;

mod error;

pub use error::TargetError;

/// A URL that was checked and may be called.
///
/// Parsing normalises every spelling of an address, so what is judged is what is dialled.
/// A clone is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    uri: Uri,
    literal: Option<IpAddr>,
}

impl Target {
    /// Parses `text` and checks it against `policy`.
    ///
    /// A host that is a name is not resolved; `localhost` and the names below it count as the loopback address.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the URL, see [`TargetError`].
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, TargetError> {
        check_text(text)?;
        let url = Url::parse(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        check_authority(text)?;
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        if url.port() == Some(0) {
            return Err(TargetError::Port);
        }
        let literal = check_host(&url, policy)?;
        let uri = to_uri(&url)?;
        Ok(Self { uri, literal })
    }

    /// Returns the normalised URL.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the normalised host; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Returns the port, be it written or the default of the scheme.
    pub fn port(&self) -> u16 {
        port_of(&self.uri)
    }

    /// Returns the address if the host is one.
    pub fn literal(&self) -> Option<IpAddr> {
        self.literal
    }

    /// Returns whether the exchange is encrypted.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

/// Shows the origin only, for path and query may hold secrets.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |a| a.as_str());
        write!(f, "Target({scheme}://{authority})")
    }
}

pub(crate) fn port_of(uri: &Uri) -> u16 {
    const HTTP: u16 = 80;
    const HTTPS: u16 = 443;
    let default = if uri.scheme() == Some(&Scheme::HTTPS) {
        HTTPS
    } else {
        HTTP
    };
    uri.port_u16().unwrap_or(default)
}

/// Refuses what a URL parser would silently drop or rewrite.
fn check_text(text: &str) -> Result<(), TargetError> {
    if text.len() > MAX_LENGTH {
        return Err(TargetError::TooLong);
    }
    if text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return Err(TargetError::ControlCharacter);
    }
    Ok(())
}

/// Looks at the authority as it was written, since the parser forgives missing slashes and empty credentials.
fn check_authority(text: &str) -> Result<(), TargetError> {
    let Some((_, rest)) = text.split_once(':') else {
        return Err(TargetError::NotAbsolute);
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(TargetError::NotAbsolute);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(TargetError::Host);
    }
    if authority.contains('@') {
        return Err(TargetError::Credentials);
    }
    Ok(())
}

fn check_host(url: &Url, policy: &AddressPolicy) -> Result<Option<IpAddr>, TargetError> {
    let literal = match url.host() {
        None => return Err(TargetError::Host),
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        Some(Host::Domain(name)) => {
            check_name(name, policy)?;
            return Ok(None);
        }
    };
    if !policy.allows(literal) {
        return Err(TargetError::RefusedAddress { ip: literal });
    }
    Ok(Some(literal))
}

fn check_name(name: &str, policy: &AddressPolicy) -> Result<(), TargetError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Err(TargetError::Host);
    }
    let is_loopback = name == "localhost" || name.ends_with(".localhost");
    if is_loopback && !policy.allows(LOOPBACK_V4) && !policy.allows(LOOPBACK_V6) {
        return Err(TargetError::RefusedAddress { ip: LOOPBACK_V4 });
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

/// Converts the URL, and insists that both parsers see the same host and port.
fn to_uri(url: &Url) -> Result<Uri, TargetError> {
    let Ok(uri) = Uri::try_from(url.as_str()) else {
        return Err(TargetError::Malformed);
    };
    if uri.host() != url.host_str() || Some(port_of(&uri)) != url.port_or_known_default() {
        return Err(TargetError::Malformed);
    }
    Ok(uri)
}

const MAX_LENGTH: usize = 8192;
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
