//! What follows the end of an agent. Told the time.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// How an agent ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// By itself, with an exit status.
    Exited(u8),
    Signaled(Signal),
}

/// What the supervisor does then.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ends with this exit status.
    End(u8),
    /// Says so and ends with this exit status, so that whoever started it applies its own back-off and somebody sees it.
    GiveUp {
        signal: Signal,
        status: u8,
    },
    Restart {
        signal: Signal,
    },
}

/// The ends of agents so far.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// When signals ended agents that were then started again, within the last [`WINDOW`].
    restarts: Vec<Instant>,
    is_stopping: bool,
}

impl Ends {
    /// Takes note of a signal that was passed on. After one that asks the agent to stop none is started any more; one that asks
    /// it to read its file again and ends it, as it does before it is heeded, is followed by an agent that reads the file.
    pub(super) fn passed_on(&mut self, signal: Signal) {
        self.is_stopping |= matches!(signal, Signal::SIGINT | Signal::SIGTERM);
    }

    /// Decides on the end of an agent.
    pub(super) fn decide(&mut self, end: End, now: Instant) -> Next {
        let signal = match end {
            End::Exited(status) => return Next::End(status),
            End::Signaled(signal) => signal,
        };
        let status = SIGNALED + signal as u8;
        if self.is_stopping {
            return Next::End(status);
        }
        self.restarts.retain(|at| now.duration_since(*at) < WINDOW);
        if self.restarts.len() >= RESTARTS {
            return Next::GiveUp { signal, status };
        }
        self.restarts.push(now);
        Next::Restart { signal }
    }
}

/// Restarts within [`WINDOW`]: more than that is a fault that a restart does not mend.
const RESTARTS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// Added to the number of a signal in an exit status, as shells do.
const SIGNALED: u8 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_ends_by_itself_ends_its_supervisor_with_its_status() {
        for status in [0, 1, 2, 255] {
            assert_eq!(Ends::default().decide(End::Exited(status), Instant::now()), Next::End(status));
        }
    }

    #[test]
    fn an_agent_ended_by_a_signal_nobody_passed_on_is_started_again() {
        for signal in [Signal::SIGABRT, Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGTERM] {
            assert_eq!(Ends::default().decide(End::Signaled(signal), Instant::now()), Next::Restart { signal });
        }
    }

    #[test]
    fn an_agent_that_was_told_to_stop_is_not_started_again_however_it_ends() {
        for told in [Signal::SIGINT, Signal::SIGTERM] {
            for (end, status) in [(End::Exited(0), 0), (End::Signaled(told), 128 + told as u8), (KILLED, 137)] {
                let mut ends = Ends::default();
                ends.passed_on(told);

                assert_eq!(ends.decide(end, Instant::now()), Next::End(status));
            }
        }
    }

    #[test]
    fn an_agent_that_a_passed_hang_up_ends_is_started_again() {
        let mut ends = Ends::default();
        ends.passed_on(Signal::SIGHUP);

        let next = ends.decide(End::Signaled(Signal::SIGHUP), Instant::now());

        assert_eq!(next, Next::Restart { signal: Signal::SIGHUP });
    }

    #[test]
    fn the_sixth_end_within_a_minute_is_the_last() {
        let (mut ends, start) = (Ends::default(), Instant::now());
        for second in [0, 10, 20, 30, 40] {
            assert_eq!(ends.decide(KILLED, start + Duration::from_secs(second)), RESTARTED);
        }

        let next = ends.decide(KILLED, start + Duration::from_millis(59_999));

        assert_eq!(next, Next::GiveUp { signal: Signal::SIGKILL, status: 137 });
    }

    #[test]
    fn ends_more_than_ten_seconds_apart_are_never_too_many() {
        let (mut ends, start) = (Ends::default(), Instant::now());
        for second in (0..1200).step_by(12) {
            assert_eq!(ends.decide(KILLED, start + Duration::from_secs(second)), RESTARTED, "after {second} s");
        }
        assert!(ends.restarts.len() <= RESTARTS);
    }

    const KILLED: End = End::Signaled(Signal::SIGKILL);
    const RESTARTED: Next = Next::Restart { signal: Signal::SIGKILL };
}
