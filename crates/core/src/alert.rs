//! Alerts: what a tenant or the operator must act on, each with a life of its own.

use serde::{Deserialize, Serialize};

use crate::schedule::mixed;
use crate::{
    AccountId, AlertId, AnyId, ConnectionId, ErrorClass, Shard, SourceName, Stored, Subject,
    TenantId, Timestamp,
};

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// The source throttles a connection, or a tenant's collections.
    Throttled,
    /// The source does not take a connection's credentials or consent any more, or the keys with
    /// which collections are fetched.
    Deauthorised,
    /// The connector failed by a fault of its own.
    ConnectorCrashed,
    /// The source does not understand what the connector asks.
    InvalidRequest,
    /// The source does not answer anybody.
    SourceDown,
    /// Work that is due waits too long for its turn.
    Backlog,
}

impl AlertKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Throttled,
        Self::Deauthorised,
        Self::ConnectorCrashed,
        Self::InvalidRequest,
        Self::SourceDown,
        Self::Backlog,
    ];

    /// The kinds that follow from how a fetch ended, each with the class that opens it.
    pub(crate) const OF_OUTCOMES: [(Self, ErrorClass); 3] = [
        (Self::Throttled, ErrorClass::RateLimitExceeded),
        (Self::ConnectorCrashed, ErrorClass::InternalError),
        (Self::InvalidRequest, ErrorClass::InvalidRequest),
    ];

    /// Returns what a collection's call that failed so shows of its source.
    pub const fn of_call(class: ErrorClass) -> Option<Self> {
        match class {
            ErrorClass::RateLimitExceeded => Some(Self::Throttled),
            ErrorClass::AuthenticationError => Some(Self::Deauthorised),
            ErrorClass::InternalError => Some(Self::ConnectorCrashed),
            ErrorClass::InvalidRequest => Some(Self::InvalidRequest),
            ErrorClass::ConnectionFailure
            | ErrorClass::BankMaintenance
            | ErrorClass::InstitutionError
            | ErrorClass::ItemError
            | ErrorClass::ProductNotAvailable
            | ErrorClass::UnknownError => None,
        }
    }

    /// Returns whether an alert about a source is over when a collection's call ends otherwise, of
    /// the tenant that it is for (`own`) or of another.
    pub const fn is_mended_by_call(self, own: bool) -> bool {
        match self {
            Self::Throttled | Self::Deauthorised => own,
            Self::ConnectorCrashed | Self::InvalidRequest => true,
            Self::SourceDown | Self::Backlog => false,
        }
    }

    /// Returns whether the operator has to act, and not the tenant.
    pub const fn is_for_the_operator(self) -> bool {
        match self {
            Self::Throttled | Self::Deauthorised | Self::SourceDown => false,
            Self::ConnectorCrashed | Self::InvalidRequest | Self::Backlog => true,
        }
    }

    /// Returns the name used in API, log and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Deauthorised => "deauthorised",
            Self::ConnectorCrashed => "connector_crashed",
            Self::InvalidRequest => "invalid_request",
            Self::SourceDown => "source_down",
            Self::Backlog => "backlog",
        }
    }

    /// Returns who has to act: the tenant for its people, or the operator for the installation.
    pub const fn audience(self) -> &'static str {
        if self.is_for_the_operator() {
            "operator"
        } else {
            "tenant"
        }
    }
}

impl Stored for AlertKind {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// What it is about goes on.
    Open,
    /// It goes on, and somebody knows of it.
    Acknowledged,
    /// It is mended, or somebody has put it aside.
    Closed,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Acknowledged, Self::Closed];

    /// Returns the name used in API, paths and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }
}

impl Stored for AlertState {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

/// An alert as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// Who is told.
    pub tenant: TenantId,
    /// What it is about.
    pub kind: AlertKind,
    /// The source that it concerns.
    pub source: SourceName,
    /// The connection that it concerns, where it is about one.
    pub connection: Option<(AccountId, ConnectionId)>,
    /// The stable code of what went wrong.
    pub code: Option<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When the same thing happened last.
    pub last_at: Timestamp,
    /// How often it happened while it was open.
    pub count: u32,
    /// When somebody said that they know.
    pub acknowledged_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

impl Alert {
    /// Returns where it stands.
    pub const fn state(&self) -> AlertState {
        match (self.closed_at, self.acknowledged_at) {
            (Some(_), _) => AlertState::Closed,
            (None, Some(_)) => AlertState::Acknowledged,
            (None, None) => AlertState::Open,
        }
    }

    /// Returns what the log says of it.
    pub fn facts(&self) -> AlertFacts {
        AlertFacts {
            kind: self.kind.as_str(),
            audience: self.kind.audience(),
            source: self.source.clone(),
            account_id: self.connection.map(|(account, _)| account),
            connection_id: self.connection.map(|(_, connection)| connection),
            code: self.code.clone(),
        }
    }
}

/// An open alert, as much of it as its aggregate remembers; the id is made of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
// A connection's row is rewritten at each step and has to stay short.
#[serde(try_from = "Written", into = "Written")]
pub struct OpenAlert {
    /// What it is about.
    pub kind: AlertKind,
    /// The version of the aggregate that opened it.
    pub version: u32,
    /// When.
    pub opened_at: Timestamp,
    /// Whether somebody has said that they know.
    pub acknowledged: bool,
}

impl OpenAlert {
    /// Returns its id, `of` being the aggregate that opened it.
    pub fn id(&self, of: &AnyId) -> AlertId {
        let [upper, lower] = halves(of);
        let step = (u64::from(self.version) << 8) | u64::from(self.kind.code());
        let seed = mixed(upper) ^ lower ^ mixed(step);
        AlertId::derived(self.opened_at, Shard::of(of), seed)
    }
}

/// Kind, version, opening and whether it is acknowledged.
type Written = (u8, u32, i64, u8);

impl TryFrom<Written> for OpenAlert {
    type Error = String;

    fn try_from((kind, version, opened_at, acknowledged): Written) -> Result<Self, String> {
        let known = AlertKind::from_code(kind);
        Ok(Self {
            kind: known.ok_or_else(|| format!("{kind} is no kind of alert"))?,
            version,
            opened_at: Timestamp::from_millis(opened_at),
            acknowledged: acknowledged != 0,
        })
    }
}

impl From<OpenAlert> for Written {
    fn from(alert: OpenAlert) -> Self {
        let opened_at = alert.opened_at.as_millis();
        let acknowledged = u8::from(alert.acknowledged);
        (alert.kind.code(), alert.version, opened_at, acknowledged)
    }
}

fn halves(id: &AnyId) -> [u64; 2] {
    let (halves, _) = id.as_chunks::<8>();
    let half = |place: usize| {
        halves
            .get(place)
            .map_or(0, |half| u64::from_be_bytes(*half))
    };
    [half(0), half(1)]
}

/// What a step has written of alerts; of each alert at most one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertWrite {
    /// It comes to be.
    Open(Box<Alert>),
    /// The same thing has happened again.
    Again(AlertId, Timestamp),
    /// Somebody knows of it.
    Acknowledge(AlertId, Timestamp),
    /// It is over.
    Close(AlertId, Timestamp),
}

impl AlertWrite {
    /// Returns which alert it is about.
    pub const fn id(&self) -> AlertId {
        match self {
            Self::Open(alert) => alert.id,
            Self::Again(id, _) | Self::Acknowledge(id, _) | Self::Close(id, _) => *id,
        }
    }
}

/// What somebody does about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertWish {
    /// Says that they know.
    Acknowledge,
    /// Puts it aside; it is opened anew when the same thing happens again.
    Close,
}

/// What a change of an alert says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertFacts {
    /// What it is about.
    pub kind: &'static str,
    /// Who has to act.
    pub audience: &'static str,
    /// The source that it concerns.
    pub source: SourceName,
    /// The account that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// The connection that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<ConnectionId>,
    /// The stable code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Applies a wish to the open alerts of an aggregate.
///
/// Returns what to write and what to say of it; `None` where the alert is not open there.
pub(crate) fn obey(
    (open, of): (&mut Vec<OpenAlert>, &AnyId),
    now: Timestamp,
    id: AlertId,
    wish: AlertWish,
) -> Option<(AlertKind, Option<(AlertWrite, Subject)>)> {
    let place = open.iter().position(|alert| alert.id(of) == id)?;
    let alert = open.get_mut(place)?;
    let kind = alert.kind;
    Some(match wish {
        AlertWish::Acknowledge if alert.acknowledged => (kind, None),
        AlertWish::Acknowledge => {
            alert.acknowledged = true;
            let subject = Subject::AlertState(id, AlertState::Acknowledged);
            (kind, Some((AlertWrite::Acknowledge(id, now), subject)))
        }
        AlertWish::Close => {
            open.remove(place);
            let subject = Subject::AlertState(id, AlertState::Closed);
            (kind, Some((AlertWrite::Close(id, now), subject)))
        }
    })
}
