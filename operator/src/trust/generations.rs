use tunmesh_crds::names::Generation;

use super::TrustError;

/// A secret thing while it is exchanged for another: the one in use, and those that are trusted beside it.
#[derive(Debug)]
pub(super) struct Generations<T> {
    current: T,
    next: Option<T>,
    previous: Option<T>,
}

impl<T> Generations<T> {
    pub(super) fn new(current: T) -> Self {
        Self { current, next: None, previous: None }
    }

    /// Reads each generation. `read` answers `None` for one that is not there at all; the current one must be, and
    /// `missing` says so.
    pub(super) fn read(
        read: impl Fn(Generation) -> Result<Option<T>, TrustError>,
        missing: impl FnOnce() -> TrustError,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            current: read(Generation::Current)?.ok_or_else(missing)?,
            next: read(Generation::Next)?,
            previous: read(Generation::Previous)?,
        })
    }

    pub(super) fn current(&self) -> &T {
        &self.current
    }

    /// Those that are there, the current one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Generation, &T)> {
        let beside = [(Generation::Next, &self.next), (Generation::Previous, &self.previous)];
        let beside = beside.into_iter().filter_map(|(generation, value)| Some((generation, value.as_ref()?)));
        std::iter::once((Generation::Current, &self.current)).chain(beside)
    }
}
