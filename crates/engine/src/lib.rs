#![doc = include_str!("../README.md")]

mod aggregate;
mod batch;
mod clock;
mod dispatch;
mod driver;
mod engine;
mod inbox;
mod membership;
mod meters;
mod notifier;
mod orphans;

mod ports;
mod retention;
mod session;
mod source;
mod subscription;
mod tasks;
pub mod traces;
mod unclassified;

pub use aggregate::Aggregate;
pub use batch::{
    AccountWrite, Batch, Before, CollectionWrite, ConnectionWrite, Entry, KeyRow, OutcomeChange,
    SourceWrite, Write,
};
pub use clock::{Clock, SystemClock};
pub use dispatch::{
    DeliveryAttempt, DeliveryRow, DeliveryStatus, DispatchAnswer, DispatchQuery, DispatchState,
    DispatchWrites, LogEntry, LogSlice, Message, Position, Redelivery, SendFailure, SendId,
    SendOrder, SendResult, SubscriptionState, SubscriptionWish,
};
pub use driver::{
    Action, Answer, Busy, Command, Counters, DeliverOrder, DispatchView, Driver, EffectId, Event,
    FetchOrder, Key, LaneView, LimitView, Limits, Origin, Request, Wish,
};
pub use engine::{Engine, EngineHandle, EngineParts, Holding, Snapshot, random_seed};

pub use notifier::{NoTransport, NoticeRequest, Notifier, NotifierHandle, NotifierParts, Told};
pub use orphans::sweep_orphans;
pub use ports::blobs::{BlobError, Blobs};
pub use ports::channel::{Channel, DeliverResult};
pub use ports::connector::{Connector, FetchResult};
pub use ports::directory::{Directory, KeyRecord, Settings, Tenant, TokenKind, TokenRecord};
pub use ports::listener::{Heard, Listener, Nobody};
pub use ports::notices::{
    AddressBook, Allowance, IncidentStage, IncidentTelling, IncidentWrite, IncidentsTold,
    MaintenanceTold, Notice, NoticeBackend, NoticeBatch, NoticeStatus, Notices, Notification,
    NotificationFilter, Person, PhoneMark, RequestMark,
};
pub use ports::queries::{
    AlertFilter, AttemptView, ChangeView, ChangesPage, CollectionPage, CollectionView, Cursor,
    CursorError, DeliveryFilter, DeliveryView, FetchScope, FetchView, IncidentFilter,
    InteractionView, Queries,
};
pub use ports::spans::{Fact, Span, SpanKind, SpanSink};
pub use ports::store::{
    Backend, CommitError, InboxRow, Lease, Live, Loaded, LoadedCollection, Membership, Store,
    StoreError, Sweep, Swept,
};
pub use ports::transport::{NoticeAddress, NoticeOrder, NoticeResult, NoticeWords, Transport};
pub use session::{
    BUDGET_SPENT, CallError, DocumentError, Ended, KnownDocuments, Leave, NewDocument, Record,
    Report, Reporter, RunInputs, RunOrder, RunResult, Session,
};
pub use source::{ConnectionDefaults, Source, SourceTable, TenantRules, TenantTable};
pub use subscription::{
    Disabled, DisabledReason, Subscription, SubscriptionKind, SubscriptionTable,
};
pub use tasks::{Tasks, is_contained};
pub use unclassified::{MOST_UNCLASSIFIED, UnclassifiedView, UnclassifiedWrite};
