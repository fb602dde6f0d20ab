//! Budgets that hold for a part of a source's calls: for one endpoint, tenant or connection.

use std::fmt;
use std::sync::Arc;

use super::{BudgetName, Window};
use crate::{ConnectionId, SourceName, TenantId};

/// Whose calls are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of the source.
    Source,
    /// Those of one tenant.
    Tenant,
    /// Those of one connection.
    Connection,
}

/// Windows for a part of a source's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Whose calls are counted together.
    pub scope: Scope,
    /// The only endpoint whose calls are counted; all are where there is none.
    pub endpoint: Option<Arc<str>>,
    /// The windows, all of which hold at once.
    pub windows: Arc<[Window]>,
}

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 3] = [Self::Source, Self::Tenant, Self::Connection];

    /// Returns the name used in source files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Tenant => "tenant",
            Self::Connection => "connection",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Limit {
    /// Returns whether it counts calls of an endpoint; a call that names none is one of any kind.
    pub fn counts(&self, endpoint: Option<&str>) -> bool {
        self.endpoint.is_none() || self.endpoint.as_deref() == endpoint
    }

    /// Returns the name of its budget that a call is spent from; `None` for a call of a
    /// collection where connections are counted.
    ///
    /// It has spaces in it, so that it is never the name of a source.
    pub fn budget(
        &self,
        source: &SourceName,
        tenant: TenantId,
        connection: Option<ConnectionId>,
    ) -> Option<BudgetName> {
        let endpoint = self.endpoint.as_deref().unwrap_or("*");
        Some(BudgetName::new(match self.scope {
            Scope::Source => format!("{source} {ALL} {endpoint}"),
            Scope::Tenant => format!("{source} {tenant} {endpoint}"),
            Scope::Connection => format!("{source} {} {endpoint}", connection?),
        }))
    }

    /// Returns the name of its budget where all of the source share it.
    pub fn shared(&self, source: &SourceName) -> Option<BudgetName> {
        match self.scope {
            Scope::Source => self.budget(source, TenantId::from_bytes([0; 16]), None),
            Scope::Tenant | Scope::Connection => None,
        }
    }
}

impl BudgetName {
    /// Returns whether it names a limit, and not the budget of a whole source.
    pub fn is_limit(&self) -> bool {
        self.as_str().contains(' ')
    }

    /// Returns whether it names a limit that all of a source share.
    pub fn is_shared(&self) -> bool {
        self.as_str().split(' ').nth(1) == Some(ALL)
    }
}

const ALL: &str = "all";
