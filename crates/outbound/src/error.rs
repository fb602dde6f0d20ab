use std::fmt;
use std::io;
use std::net::IpAddr;

/// Says why an exchange brought no complete answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The policy refuses the address, or every address the name resolved to.
    #[error("address {ip} is refused")]
    Refused {
        /// The first refused address.
        ip: IpAddr,
    },
    /// The name has no address, or none that could be learnt.
    #[error("host name could not be resolved")]
    Resolve,
    /// No address accepted a connection.
    #[error("connection could not be opened: {kind}")]
    Connect {
        /// What the last attempt met.
        kind: io::ErrorKind,
    },
    /// The TLS handshake failed, or the TLS session was broken.
    #[error("TLS failed: {detail}")]
    Tls {
        /// What the TLS library said.
        detail: String,
    },
    /// The deadline, or the limit for connecting, passed.
    #[error("timed out while {phase}")]
    Timeout {
        /// How far the exchange had come.
        phase: TimeoutPhase,
    },
    /// The connection ended before the answer began, or was reset within it.
    #[error("connection was reset")]
    Reset,
    /// The connection ended in the middle of the body.
    #[error("response body ended early")]
    Truncated,
    /// The body is, or says it is, larger than the caller takes.
    #[error("response body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not HTTP/1.
    #[error("response is not valid HTTP: {detail}")]
    Protocol {
        /// What the HTTP library said.
        detail: String,
    },
}

impl SendError {
    /// Returns the stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "address_refused",
            Self::Resolve => "dns_failure",
            Self::Connect { kind } if *kind == io::ErrorKind::ConnectionRefused => {
                "connection_refused"
            }
            Self::Connect { .. } => "connection_failed",
            Self::Tls { .. } => "tls_failure",
            Self::Timeout { .. } => "timeout",
            Self::Reset => "connection_reset",
            Self::Truncated => "body_truncated",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Protocol { .. } => "protocol_error",
        }
    }
}

/// Says how far an exchange had come when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutPhase {
    /// Resolving, connecting or shaking hands; nothing was sent.
    Connect,
    /// The request was on its way, the response had not begun.
    Headers,
    /// The response had begun, its body was incomplete.
    Body,
}

impl fmt::Display for TimeoutPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Headers => "waiting for the response",
            Self::Body => "reading the response body",
        })
    }
}
