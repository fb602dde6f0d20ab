//! A few connections that are opened when they are needed and kept while they are good.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::session::{Connector, Fault, Session};

pub(super) struct Pool {
    connector: Connector,
    permits: Semaphore,
    idle: Mutex<Vec<Session>>,
}

/// A session for one operation; it is cut unless the operation ends with [`Self::keep`].
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    session: Option<Session>,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(connector: Connector, size: usize) -> Self {
        Self {
            connector,
            permits: Semaphore::new(size.max(1)),
            idle: Mutex::default(),
        }
    }

    /// Waits for a free session, and opens it where none is left.
    pub(super) async fn get(&self) -> Result<Lent<'_>, Fault> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|_closed| Fault::Late("the connections are closed"))?;
        let session = match self.take() {
            Some(session) => session,
            None => self.connector.session().await?,
        };
        Ok(Lent {
            pool: self,
            session: Some(session),
            _permit: permit,
        })
    }

    fn take(&self) -> Option<Session> {
        let mut idle = self.idle();
        while let Some(session) = idle.pop() {
            if !session.is_closed() {
                return Some(session);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    /// Gives the session back: the operation ended well, and no transaction is open.
    pub(super) fn keep(mut self) {
        if let Some(session) = self.session.take() {
            self.pool.idle().push(session);
        }
    }
}

impl Deref for Lent<'_> {
    type Target = Session;

    #[expect(
        clippy::expect_used,
        reason = "only `keep` takes it, and `keep` consumes the loan"
    )]
    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("is there until it is given back")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.cut();
        }
    }
}
