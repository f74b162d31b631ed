//! Workloads whose pods the API server refused while it could not call the webhook: their controllers are asked to look
//! again, as by themselves they would wait for about as long again as it was away.
//!
//! ```text
//! Events FailedCreate --watch--> refusals: who waits? --first one, then, once the webhook is called, all--> workload: patch
//! ```
//!
//! Who waits is told by Events, as one watch of few objects shows all of them. API servers keep no Events in memory, so
//! listing them again and again would be dear.
//!
//! A controller is asked by the smallest change that it takes for news and puts right itself: of the status of its object
//! the field is taken back that says it has looked. Any change of a workload comes into the queue of its controller past
//! the back-off (`updateRS`, `updateDaemonset` and their likes in `kubernetes/pkg/controller`).

mod ask;
mod refusals;
mod workload;

pub(crate) use ask::keep as keep_asking;
