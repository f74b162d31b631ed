//! Descriptor passing through real sockets and devices. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use support::{as_user, raw_device, settings};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, Features, NotUsable, Tun, TunError};

#[test]
fn a_device_is_handed_over_and_works() {
    let netns = Netns::create().unwrap();

    let (tun, peer) = exchange(&netns, "@tm.nh", || Ok(made("mesh0")));

    let tun = tun.unwrap();
    assert_eq!((tun.name(), tun.mtu()), ("mesh0", 1400));
    assert_eq!(support::ping(&tun)[20], 0);
    assert_eq!(peer.unwrap().pid, std::process::id().cast_signed());
    drop(tun);
    assert_eq!(support::ip(&netns, "-o link show type tun"), "", "the giver kept a copy");
}

#[test]
fn a_socket_in_the_file_system_serves_too() {
    let netns = Netns::create().unwrap();
    let path = std::env::temp_dir().join(format!("handover-{}", std::process::id()));

    let (tun, _) = exchange(&netns, path.to_str().unwrap(), || Ok(made("mesh0")));

    std::fs::remove_file(&path).unwrap();
    assert_eq!(tun.unwrap().name(), "mesh0");
}

#[test]
fn a_helper_that_comes_late_is_waited_for() {
    let netns = Netns::create().unwrap();
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| netns.run(|| tun::receive("@tm.nh", Duration::from_secs(10))).unwrap());
        let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
        netns
            .run(|| tun::hand_over(listener.as_fd(), Duration::from_secs(10), |_| Ok(made("mesh0"))))
            .unwrap()
            .unwrap();
        receiver.join().unwrap()
    });

    assert_eq!(received.unwrap().name(), "mesh0");
}

#[test]
fn an_absent_helper_is_an_error_after_the_timeout() {
    let netns = Netns::create().unwrap();

    let received = netns.run(|| tun::receive("@tm.nh", Duration::from_millis(20))).unwrap();

    assert!(matches!(received, Err(TunError::NoHelper { .. })), "{received:?}");
}

#[test]
fn a_silent_helper_is_an_error_after_the_timeout() {
    let netns = Netns::create().unwrap();
    let _listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();

    let received = netns.run(|| tun::receive("@tm.nh", Duration::from_millis(20))).unwrap();

    assert!(matches!(received, Err(TunError::NoHelper { .. })), "{received:?}");
}

#[test]
fn a_squatter_of_another_user_is_told_nothing() {
    let netns = Netns::create().unwrap();
    let squatter = netns.run(|| as_user(65532, || tun::listen("@tm.nh"))).unwrap().unwrap();

    let received = netns.run(|| tun::receive("@tm.nh", Duration::from_secs(5))).unwrap();

    assert!(matches!(received, Err(TunError::Peer { uid: 65532, .. })), "{received:?}");
    let heard = tun::hand_over(squatter.as_fd(), Duration::from_secs(5), |_| panic!("a HELLO was sent"));
    assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn even_the_agents_own_user_is_no_helper_outside_a_user_namespace() {
    let netns = Netns::create().unwrap();

    let received = netns
        .run(|| {
            as_user(65532, || {
                let _squatter = tun::listen("@tm.nh").unwrap();
                tun::receive("@tm.nh", Duration::from_secs(5))
            })
        })
        .unwrap();

    assert!(matches!(received, Err(TunError::Peer { uid: 65532, .. })), "{received:?}");
}

#[test]
fn a_refusal_reaches_both_sides() {
    let netns = Netns::create().unwrap();

    let (tun, peer) = exchange(&netns, "@tm.nh", || Err(io::ErrorKind::PermissionDenied.into()));

    assert!(matches!(tun, Err(TunError::Refused { .. })), "{tun:?}");
    assert_eq!(peer.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_device_of_another_kind_is_refused() {
    let netns = Netns::create().unwrap();

    let (tun, _) = exchange(&netns, "@tm.nh", || Ok(raw_device("odd0", libc::IFF_TAP | libc::IFF_NO_PI)));

    assert!(matches!(tun, Err(TunError::NotUsable(NotUsable::Tap))), "{tun:?}");
}

#[test]
fn a_device_with_a_header_arrives_with_its_offloads() {
    let netns = Netns::create().unwrap();
    let features = Features { offload: true, ..Features::default() };
    let give = || Ok(tun::create_with(&settings("mesh0"), &features).unwrap().into());

    let (tun, _) = exchange(&netns, "@tm.nh", give);

    let offloads = tun.unwrap().offloads();
    assert!(offloads.header && offloads.tcp, "{offloads:?}");
}

fn made(name: &str) -> OwnedFd {
    tun::create(&settings(name)).unwrap().into()
}

/// Both sides of one hand-over inside the namespace.
fn exchange(
    netns: &Netns,
    socket: &str,
    give: impl FnOnce() -> io::Result<OwnedFd> + Send,
) -> (Result<Tun, TunError>, io::Result<tun::Peer>) {
    let listener = netns.run(|| tun::listen(socket)).unwrap().unwrap();
    std::thread::scope(|scope| {
        let helper = scope
            .spawn(|| netns.run(|| tun::hand_over(listener.as_fd(), Duration::from_secs(10), |_| give())).unwrap());
        let received = netns.run(|| tun::receive(socket, Duration::from_secs(10))).unwrap();
        (received, helper.join().unwrap())
    })
}
