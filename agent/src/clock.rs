use std::time::SystemTime;

use tunmesh_protocol::UnixTime;

/// The only reader of the wall clock.
#[derive(Clone, Copy)]
pub(crate) struct Clock;

impl Clock {
    pub(crate) fn wall(self) -> UnixTime {
        UnixTime::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}
