use super::*;

/// A path with a peer that answers pings or not, in virtual time.
struct World {
    path: Path,
    now: Instant,
    answers: bool,
    /// Largest message that gets through.
    width: usize,
    way: Way,
    largest: usize,
    settled: bool,
    connects: u32,
    sent: u64,
}

const ALL: Offers = Offers { udp: true, pings: true, stream: true, v0: true };
const MTU: usize = 1420;

impl World {
    fn new(offers: Offers) -> Self {
        let now = Instant::now();
        let path = Path::new(offers, Way::Unknown, MTU, now);
        let mut world = Self {
            path,
            now,
            answers: true,
            width: usize::MAX,
            way: Way::Unknown,
            largest: 0,
            settled: false,
            connects: 0,
            sent: 0,
        };
        world.path.handle_wanted(now);
        world.act();
        world
    }

    fn connected(offers: Offers) -> Self {
        let mut world = Self::new(offers);
        world.path.handle_session(world.now);
        world.act();
        world
    }

    fn act(&mut self) {
        while let Some(action) = self.path.poll_action() {
            match action {
                PathAction::Connect => self.connects += 1,
                PathAction::Ping { number, len } if self.answers && len <= self.width => {
                    let _sample = self.path.handle_pong(number, len, self.now);
                }
                PathAction::Ping { .. } => {}
                PathAction::Take(way) => self.way = way,
                PathAction::Fit { largest, settled } => (self.largest, self.settled) = (largest, settled),
            }
        }
    }

    /// Lets time pass while packets go out, until `done`; fails after a minute.
    fn until(&mut self, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            self.now += TICK;
            assert!(self.now - start < Duration::from_secs(60), "{:?}", self.path);
            self.sent += 1;
            self.path.tick(self.sent, 0, self.now);
            self.act();
        }
        self.now - start
    }
}

#[test]
fn datagrams_are_taken_as_soon_as_there_is_a_session() {
    let world = World::connected(ALL);
    assert_eq!((world.way, world.connects), (Way::Udp, 1));
}

#[test]
fn without_an_answer_packets_take_the_stream_within_a_second_and_datagrams_once_they_work() {
    let mut world = World::new(ALL);
    assert!(world.until(|world| world.way == Way::Stream) <= Duration::from_secs(1));

    world.path.handle_session(world.now);
    world.act();

    assert_eq!(world.way, Way::Udp);
}

#[test]
fn blocked_datagrams_are_left_within_three_seconds_and_taken_again_with_the_first_answer() {
    let mut world = World::connected(ALL);
    world.until(|world| world.sent > 10);
    world.answers = false;
    assert!(world.until(|world| world.way == Way::Stream) < Duration::from_secs(3));

    world.answers = true;
    assert!(world.until(|world| world.way == Way::Udp) < Duration::from_secs(1));
}

#[test]
fn without_a_stream_the_v0_protocol_is_next_and_without_either_datagrams_stay() {
    for (offers, expected) in
        [(Offers { stream: false, ..ALL }, Way::V0), (Offers { stream: false, v0: false, ..ALL }, Way::Udp)]
    {
        let mut world = World::connected(offers);
        world.answers = false;
        let start = world.now;
        world.until(|world| world.now - start > Duration::from_secs(5));
        assert_eq!(world.way, expected);
    }
}

#[test]
fn what_comes_in_makes_up_for_a_few_lost_pings_but_not_for_a_blocked_direction() {
    let mut world = World::connected(ALL);
    world.answers = false;
    let start = world.now;
    let mut received = 0;
    while world.way == Way::Udp {
        world.now += TICK;
        received += 1;
        world.path.tick(received, received, world.now);
        world.act();
    }
    let left_after = world.now - start;
    assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&left_after), "{left_after:?}");
}

#[test]
fn an_idle_path_is_left_alone() {
    let mut world = World::connected(ALL);
    world.until(|world| world.sent > 2);
    let idle_from = world.now + IDLE;
    let mut pings = 0;
    for _ in 0..200 {
        world.now += TICK;
        world.path.tick(world.sent, 0, world.now);
        while let Some(action) = world.path.poll_action() {
            if let PathAction::Ping { number, len } = action {
                let _sample = world.path.handle_pong(number, len, world.now);
                pings += u32::from(world.now > idle_from);
            }
        }
    }
    assert_eq!((world.path.way(), pings), (Way::Udp, 0));
}

#[test]
fn the_largest_packet_is_found_to_within_eight_bytes() {
    for width in [1200, 1201, 1280, 1300, 1372, 1419, 1420, 9000] {
        let mut world = World::new(ALL);
        world.width = width;
        world.path.handle_session(world.now);
        world.act();
        world.until(|world| !world.path.size.is_searching());

        let found = world.path.largest();
        assert!(found <= width && (found == MTU || width - found <= 8), "{width}: {found}");
        if width < MTU {
            assert_eq!((world.largest, world.settled), (found, true), "the last word is what was found");
        }
    }
}

#[test]
fn a_datagram_the_interface_refuses_counts_at_once() {
    let mut world = World::connected(ALL);
    world.width = 1350;

    world.path.handle_too_big(MTU, world.now);
    world.act();

    assert!(world.largest < MTU);
    world.until(|world| !world.path.size.is_searching());
    assert!((1342..=1350).contains(&world.path.largest()), "{}", world.path.largest());
}

#[test]
fn a_larger_mtu_of_the_device_is_looked_for_and_what_fits_counts_meanwhile() {
    for width in [1420, 1480, 1500] {
        let mut world = World::connected(ALL);
        world.width = width;
        world.until(|world| !world.path.size.is_searching());
        assert_eq!((world.largest, world.settled), (MTU, true));

        world.path.handle_mtu(1500, world.now);
        world.act();
        world.until(|world| {
            assert!((MTU..=width).contains(&world.path.largest()), "{width}: {}", world.path.largest());
            !world.path.size.is_searching()
        });

        assert!(width - world.largest <= 8, "{width}: {}", world.largest);
    }
}

#[test]
fn a_larger_mtu_counts_at_once_where_nothing_is_looked_for_and_a_smaller_one_changes_nothing() {
    let mut world = World::new(ALL);

    world.path.handle_mtu(1500, world.now);
    world.path.handle_mtu(1300, world.now);
    world.act();

    assert_eq!(world.largest, 1500);
}

#[test]
fn a_session_that_ends_in_silence_leaves_the_next_packet_to_start_anew() {
    let mut world = World::connected(ALL);
    world.now += IDLE * 2;
    world.path.tick(0, 0, world.now);
    world.act();
    world.path.handle_session_lost(world.now);
    world.act();
    assert_eq!((world.way, world.connects), (Way::Unknown, 1));

    world.path.handle_wanted(world.now);
    world.act();
    assert_eq!(world.connects, 2);
}

#[test]
fn packets_that_no_way_was_found_for_are_given_up_and_the_next_one_asks_again() {
    let mut world = World::new(Offers { stream: false, v0: false, ..ALL });
    world.until(|world| world.sent > 10);

    world.path.handle_unreachable();
    assert_eq!(world.path.poll_action(), Some(PathAction::Take(Way::Unknown)));

    let before = world.connects;
    world.path.handle_wanted(world.now);
    world.act();
    assert_eq!((world.way, world.connects), (Way::Unknown, before + 1));
}

#[test]
fn packets_that_wait_take_a_way_that_is_offered_later() {
    let mut world = World::new(Offers { stream: false, v0: false, ..ALL });
    world.until(|world| world.sent > 10);
    assert_eq!(world.way, Way::Unknown);

    world.path.offer(Offers { v0: true, ..Offers::default() }, world.now);

    assert!(world.path.is_busy());
    assert_eq!(world.until(|world| world.way != Way::Unknown), TICK);
    assert_eq!(world.way, Way::V0);
}

#[test]
fn packets_that_wait_go_in_datagrams_if_nothing_answers_but_nothing_else_is_left() {
    let mut world = World::connected(ALL);
    world.until(|world| world.sent > 2);
    world.answers = false;
    world.until(|world| world.way == Way::Stream);
    world.now += IDLE;
    world.path.offer(Offers { stream: false, v0: false, ..ALL }, world.now);
    world.act();
    assert_eq!(world.way, Way::Unknown);

    world.path.handle_wanted(world.now);
    world.act();

    assert!(world.until(|world| world.way == Way::Udp) <= Duration::from_secs(1));
}

#[test]
fn the_round_trip_is_that_of_answered_pings() {
    let mut world = World::new(ALL);
    world.path.handle_session(world.now);
    while let Some(action) = world.path.poll_action() {
        if let PathAction::Ping { number, len } = action {
            let _sample = world.path.handle_pong(number, len, world.now + Duration::from_millis(20));
        }
    }
    assert_eq!(world.path.quality(), Quality { round_trip: Some(Duration::from_millis(20)), pings: 1, pongs: 1 });
}
