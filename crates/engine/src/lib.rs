#![doc = include_str!("../README.md")]

mod batch;
mod clock;
mod driver;
mod engine;
mod inbox;
mod membership;
mod orphans;

mod ports;
mod retention;
mod source;
mod tasks;

pub use batch::{Batch, Before, Entry, KeyRow, OutcomeChange, Write};
pub use clock::{Clock, SystemClock};
pub use driver::{
    Action, Answer, Busy, Command, Counters, DeliverOrder, Driver, EffectId, Event, FetchOrder,
    Key, LaneView, Limits, Origin, Request,
};
pub use engine::{Engine, EngineHandle, EngineParts, Snapshot, random_seed};

pub use orphans::sweep_orphans;
pub use ports::blobs::{BlobError, Blobs};
pub use ports::channel::{Channel, DeliverResult};
pub use ports::connector::{Connector, FetchResult};
pub use ports::directory::{Directory, KeyRecord, Settings, Tenant};
pub use ports::queries::{
    AttemptView, ChangeView, ChangesPage, CollectionPage, CollectionView, Cursor, CursorError,
    Queries,
};
pub use ports::store::{
    Backend, CommitError, InboxRow, Lease, Live, Loaded, Membership, Store, StoreError, Sweep,
    Swept,
};
pub use source::{Source, SourceTable};
pub use tasks::Tasks;
