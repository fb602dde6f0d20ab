//! `/api/reliability`: the face of the reliability routes.

pub(crate) mod notifications;
