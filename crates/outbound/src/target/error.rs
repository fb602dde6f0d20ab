use std::net::IpAddr;

use url::ParseError;

/// Says what is wrong with a URL, in words for the person who entered it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no scheme, or no `//` after it.
    #[error("must be an absolute URL")]
    NotAbsolute,
    /// The scheme is neither `http` nor `https`.
    #[error("must be an http or https URL")]
    Scheme,
    /// The authority holds a user name or password, be it empty.
    #[error("must not contain credentials")]
    Credentials,
    /// The text holds a control character, white space or a backslash.
    #[error("must not contain control characters, white space or backslashes")]
    ControlCharacter,
    /// There is a fragment, be it empty.
    #[error("must not contain a fragment")]
    Fragment,
    /// The host is missing, or is neither an address nor a name.
    #[error("must contain a valid host")]
    Host,
    /// The port is zero, not a number or too large.
    #[error("must contain a valid port")]
    Port,
    /// The text is longer than 8192 bytes.
    #[error("must not be longer than 8192 bytes")]
    TooLong,
    /// The text is no URL for another reason.
    #[error("must be a valid URL")]
    Malformed,
    /// The host is an address the policy refuses, or resolves to such only.
    ///
    /// The message does not name the address, as it may come from an internal name server.
    #[error("must not point to a private or special-purpose address")]
    RefusedAddress {
        /// The first refused address.
        ip: IpAddr,
    },
}

impl From<ParseError> for TargetError {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::RelativeUrlWithoutBase
            | ParseError::RelativeUrlWithCannotBeABaseBase
            | ParseError::SetHostOnCannotBeABaseUrl => Self::NotAbsolute,
            ParseError::EmptyHost
            | ParseError::IdnaError
            | ParseError::InvalidIpv4Address
            | ParseError::InvalidIpv6Address
            | ParseError::InvalidDomainCharacter => Self::Host,
            ParseError::InvalidPort => Self::Port,
            ParseError::Overflow => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}
