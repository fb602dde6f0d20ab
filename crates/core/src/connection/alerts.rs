//! Alerts about one connection: opened by the step that shows the issue, closed by the one that
//! shows that it is mended.

use super::draft::Draft;
use super::{Access, Connection, OutcomeKind, Policy, Step};
use crate::alert::obey;
use crate::{
    Actor, Alert, AlertId, AlertKind, AlertState, AlertWish, AlertWrite, Cause, ErrorClass, Facts,
    OpenAlert, Subject, Timestamp, Verb,
};

impl Draft<'_> {
    /// Opens and closes alerts by what the step has come to.
    pub(super) fn judge_alerts(&mut self) {
        if self.gone {
            return;
        }
        let ended = self.fetch.as_ref().filter(|fetch| fetch.ended_at.is_some());
        let outcome = ended.and_then(|fetch| fetch.outcome);
        match self.next.access {
            Access::ReauthRequired | Access::Revoked => {
                let refused = outcome == Some(OutcomeKind::Failed(ErrorClass::AuthenticationError));
                let is_new = self.access_was != self.next.access;
                let is_known = self.open_alert(AlertKind::Deauthorised).is_some();
                if refused || (is_new && !is_known) {
                    self.raise(AlertKind::Deauthorised);
                }
            }
            Access::Valid | Access::Expiring => self.mend(AlertKind::Deauthorised),
            // They are being tried: nobody knows yet.
            Access::Unverified | Access::Pending => {}
        }
        match outcome {
            // What somebody ended says nothing of the source or the connector.
            None | Some(OutcomeKind::Cancelled) => {}
            Some(OutcomeKind::Failed(class)) => {
                for (kind, opens) in AlertKind::OF_OUTCOMES {
                    if class == opens {
                        self.raise(kind);
                    } else {
                        self.mend(kind);
                    }
                }
            }
            Some(
                OutcomeKind::Success
                | OutcomeKind::Partial
                | OutcomeKind::UserTooSlow
                | OutcomeKind::UserNeeded,
            ) => {
                for (kind, _) in AlertKind::OF_OUTCOMES {
                    self.mend(kind);
                }
            }
        }
    }

    /// Closes every alert of a connection that goes.
    pub(super) fn close_alerts(&mut self) {
        for open in std::mem::take(&mut self.next.alerts) {
            self.close_alert(open);
        }
    }

    fn open_alert(&self, kind: AlertKind) -> Option<OpenAlert> {
        let mut alerts = self.next.alerts.iter();
        alerts.find(|alert| alert.kind == kind).copied()
    }

    fn raise(&mut self, kind: AlertKind) {
        if let Some(open) = self.open_alert(kind) {
            let id = open.id(self.next.id.as_bytes());
            self.alerts.push(AlertWrite::Again(id, self.now));
            return;
        }
        let open = OpenAlert {
            kind,
            version: self.next.version,
            opened_at: self.now,
            acknowledged: false,
        };
        let id = open.id(self.next.id.as_bytes());
        let alert = Alert {
            code: self.code(),
            ..self.alert(id, kind)
        };
        let facts = Facts::Alert(Box::new(alert.facts()));
        self.say(Verb::Created, Subject::Alert(id), facts);
        self.alerts.push(AlertWrite::Open(Box::new(alert)));
        self.next.alerts.push(open);
    }

    fn mend(&mut self, kind: AlertKind) {
        if let Some(open) = self.open_alert(kind) {
            self.next.alerts.retain(|alert| alert.kind != kind);
            self.close_alert(open);
        }
    }

    fn close_alert(&mut self, open: OpenAlert) {
        let id = open.id(self.next.id.as_bytes());
        self.alerts.push(AlertWrite::Close(id, self.now));
        let subject = Subject::AlertState(id, AlertState::Closed);
        self.say_alert(open.kind, subject, id);
    }

    fn say_alert(&mut self, kind: AlertKind, subject: Subject, id: AlertId) {
        let facts = Facts::Alert(Box::new(self.alert(id, kind).facts()));
        self.say(Verb::Updated, subject, facts);
    }

    fn alert(&self, id: AlertId, kind: AlertKind) -> Alert {
        Alert {
            id,
            tenant: self.next.tenant,
            kind,
            source: self.next.source.clone(),
            connection: Some((self.next.account, self.next.id)),
            code: None,
            opened_at: self.now,
            last_at: self.now,
            count: 1,
            acknowledged_at: None,
            closed_at: None,
        }
    }

    fn code(&self) -> Option<String> {
        let outcome = self.next.outcome.as_ref();
        let error = outcome.and_then(|outcome| outcome.error.as_ref());
        error.map(|error| error.code.clone())
    }
}

impl Connection {
    /// Somebody has acted on an alert; `None` where it is not open here.
    pub(super) fn alert_asked(
        self,
        now: Timestamp,
        id: AlertId,
        wish: AlertWish,
        actor: Actor,
        policy: &Policy,
    ) -> Option<Step> {
        let of = self.id;
        let mut draft = Draft::new(self, now, actor, Cause::AlertAsked, policy);
        let (kind, done) = obey((&mut draft.next.alerts, of.as_bytes()), now, id, wish)?;
        if let Some((write, subject)) = done {
            draft.alerts.push(write);
            draft.say_alert(kind, subject, id);
        }
        Some(draft.finish())
    }
}
