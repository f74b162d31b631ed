//! Times of certificates, which have whole seconds.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, date_time_ymd};
use x509_parser::prelude::X509Certificate;

/// How far the clocks of members may be behind the operator's.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(at.as_second().saturating_add(by)).unwrap_or(Timestamp::MAX)
}

pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(at.as_second().saturating_sub(by)).unwrap_or(Timestamp::MIN)
}

/// From `start` to `end`, nothing if that is in the past.
pub(crate) fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(end.as_second() - start.as_second()).unwrap_or(0))
}

pub(crate) fn set_validity(params: &mut CertificateParams, not_before: Timestamp, not_after: Timestamp) {
    let [not_before, not_after] = [not_before, not_after].map(|at| between(Timestamp::UNIX_EPOCH, at));
    let epoch = date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) = (epoch + not_before, epoch + not_after);
}

/// The first and the last moment of a certificate.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> Option<[Timestamp; 2]> {
    let validity = certificate.validity();
    let at = |seconds| Timestamp::from_second(seconds).ok();
    Some([at(validity.not_before.timestamp())?, at(validity.not_after.timestamp())?])
}
