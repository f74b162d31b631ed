//! Descriptor passing through real sockets and devices. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use support::{as_user, raw_device, settings};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{
    self, Client, Features, NotUsable, Origin, Provided, ProvidedSettings, Received, Refusal, TunError, Wanted,
};

#[test]
fn a_device_is_handed_over_and_works() {
    let netns = Netns::create().unwrap();

    let (received, client) = exchange(&netns, "@tm.nh", || Ok(made("mesh0")));

    let tun = received.unwrap().tun;
    assert_eq!((tun.name(), tun.mtu()), ("mesh0", 1400));
    assert_eq!(support::ping(&tun)[20], 0);
    assert_eq!(client.unwrap().peer().pid, std::process::id().cast_signed());
    drop(tun);
    assert_eq!(support::ip(&netns, "-o link show type tun"), "", "the giver kept a copy");
}

#[test]
fn a_socket_in_the_file_system_serves_too() {
    let netns = Netns::create().unwrap();
    let path = std::env::temp_dir().join(format!("handover-{}", std::process::id()));

    let (received, _) = exchange(&netns, path.to_str().unwrap(), || Ok(made("mesh0")));

    std::fs::remove_file(&path).unwrap();
    assert_eq!(received.unwrap().tun.name(), "mesh0");
}

#[test]
fn a_helper_that_comes_late_is_waited_for() {
    let netns = Netns::create().unwrap();
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| netns.run(|| tun::receive("@tm.nh", &WANTED, Duration::from_secs(10))).unwrap());
        let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
        netns
            .run(|| tun::hand_over(listener.as_fd(), Duration::from_secs(10), |_, _| Ok(made("mesh0"))))
            .unwrap()
            .unwrap();
        receiver.join().unwrap()
    });

    assert_eq!(received.unwrap().tun.name(), "mesh0");
}

#[test]
fn an_absent_helper_is_an_error_after_the_timeout() {
    let netns = Netns::create().unwrap();

    let received = netns.run(|| tun::receive("@tm.nh", &WANTED, Duration::from_millis(20))).unwrap();

    assert!(matches!(received, Err(TunError::NoHelper { .. })), "{received:?}");
}

#[test]
fn a_silent_helper_is_an_error_after_the_timeout() {
    let netns = Netns::create().unwrap();
    let _listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();

    let received = netns.run(|| tun::receive("@tm.nh", &WANTED, Duration::from_millis(20))).unwrap();

    assert!(matches!(received, Err(TunError::NoHelper { .. })), "{received:?}");
}

#[test]
fn a_squatter_of_another_user_is_told_nothing() {
    let netns = Netns::create().unwrap();
    let squatter = netns.run(|| as_user(65532, || tun::listen("@tm.nh"))).unwrap().unwrap();

    let received = netns.run(|| tun::receive("@tm.nh", &WANTED, Duration::from_secs(5))).unwrap();

    assert!(matches!(received, Err(TunError::Peer { uid: 65532, .. })), "{received:?}");
    let heard = tun::hand_over(squatter.as_fd(), Duration::from_secs(5), |_, _| panic!("a HELLO was sent"));
    assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn even_the_agents_own_user_is_no_helper_outside_a_user_namespace() {
    let netns = Netns::create().unwrap();

    let received = netns
        .run(|| {
            as_user(65532, || {
                let _squatter = tun::listen("@tm.nh").unwrap();
                tun::receive("@tm.nh", &WANTED, Duration::from_secs(5))
            })
        })
        .unwrap();

    assert!(matches!(received, Err(TunError::Peer { uid: 65532, .. })), "{received:?}");
}

#[test]
fn a_refusal_reaches_both_sides() {
    let netns = Netns::create().unwrap();

    let (received, client) = exchange(&netns, "@tm.nh", || Err(Refusal::Token));

    assert!(matches!(received, Err(TunError::Refused { reason: Some(Refusal::Token), .. })), "{received:?}");
    assert_eq!(client.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_device_of_another_kind_is_refused() {
    let netns = Netns::create().unwrap();

    let give = || {
        let queues = vec![raw_device("odd0", libc::IFF_TAP | libc::IFF_NO_PI)];
        Ok(Provided { name: "odd0".into(), mtu: 1500, origin: Origin::Fresh, queues })
    };
    let (received, _) = exchange(&netns, "@tm.nh", give);

    assert!(matches!(received, Err(TunError::NotUsable(NotUsable::Tap))), "{received:?}");
}

#[test]
fn a_device_with_a_header_arrives_with_its_offloads() {
    let netns = Netns::create().unwrap();
    let features = Features { offload: true, ..Features::default() };
    let give = || Ok(tun::create_with(&settings("mesh0"), &features).unwrap().into());

    let (received, _) = exchange(&netns, "@tm.nh", give);

    let offloads = received.unwrap().tun.offloads();
    assert!(offloads.header && offloads.tcp, "{offloads:?}");
}

#[test]
fn a_device_is_not_what_the_helper_says_it_is() {
    let lies: [(&str, Lie); 3] = [
        ("another name", |provided| Provided { name: "mesh1".into(), ..provided }),
        ("another MTU", |provided| Provided { mtu: 1401, ..provided }),
        ("no queue", |provided| Provided { queues: Vec::new(), ..provided }),
    ];
    for (lie, tell) in lies {
        // One each: children of other tests may hold a copy of the last device for a moment.
        let netns = Netns::create().unwrap();
        let (received, _) = exchange(&netns, "@tm.nh", || Ok(tell(made("mesh0"))));

        assert!(matches!(received, Err(TunError::Malformed { .. })), "{lie}: {received:?}");
    }
}

#[test]
fn the_helper_hears_what_is_wanted() {
    let netns = Netns::create().unwrap();
    let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
    let wanted = Wanted { queues: 3, max_segments: Some(44), token: b"token" };

    let heard = std::thread::scope(|scope| {
        let agent = scope.spawn(|| netns.run(|| tun::receive("@tm.nh", &wanted, LIMIT)).unwrap());
        let mut heard = None;
        let refusal = tun::hand_over(listener.as_fd(), LIMIT, |_, hello| {
            heard = Some(hello.clone());
            Err(Refusal::Member)
        });
        assert!(refusal.is_err());
        assert!(agent.join().unwrap().is_err());
        heard.unwrap()
    });

    assert_eq!((heard.queues, heard.max_segments, &heard.token[..]), (3, Some(44), &b"token"[..]));
}

#[test]
fn a_provided_device_is_complete_and_only_the_owner_gets_it_again() {
    let netns = Netns::create().unwrap();
    let provide = |owner| netns.run(|| tun::provide(&provided(owner, &["10.77.0.5", "fd77::5"]))).unwrap();

    let first = provide("pod-1").unwrap();

    assert_eq!((first.origin, first.queues.len()), (Origin::Fresh, 2));
    assert_eq!(support::ip(&netns, "-br -4 addr show dev mesh0").split_whitespace().nth(2), Some("10.77.0.5/32"));
    assert_eq!(support::ip(&netns, "-br -6 addr show dev mesh0").split_whitespace().nth(2), Some("fd77::5/128"));
    let route = support::ip(&netns, "route get 10.77.9.9");
    assert!(route.contains("dev mesh0 src 10.77.0.5"), "{route}");
    let route = support::ip(&netns, "route get fd77::9");
    assert!(route.contains("dev mesh0") && route.contains("src fd77::5"), "{route}");
    drop(first);

    let refused = provide("pod-2");
    assert!(matches!(refused, Err(TunError::Busy { .. })), "{refused:?}");
    let again = provide("pod-1").unwrap();
    assert_eq!((again.origin, again.queues.len()), (Origin::Existed, 2));
}

#[test]
fn the_addresses_of_a_provided_device_are_put_right() {
    let netns = Netns::create().unwrap();
    drop(netns.run(|| tun::provide(&provided("pod-1", &["10.77.0.5", "fd77::5"]))).unwrap().unwrap());

    let provided = netns.run(|| tun::provide(&provided("pod-1", &["10.77.0.6"]))).unwrap().unwrap();

    let addresses = support::ip(&netns, "-br addr show dev mesh0");
    assert_eq!(addresses.split_whitespace().skip(2).collect::<Vec<_>>(), ["10.77.0.6/32"]);
    let route = support::ip(&netns, "route get 10.77.9.9");
    assert!(route.contains("dev mesh0 src 10.77.0.6"), "{route}");
    drop(provided);
}

#[test]
fn a_device_in_use_is_brought_up_to_date_and_gets_no_further_queue() {
    let netns = Netns::create().unwrap();
    let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
    let first = netns.run(|| tun::provide(&provided("pod-1", &["10.77.0.5"]))).unwrap().unwrap();
    let mut changed = provided("pod-1", &["10.77.0.6"]);
    changed.networks.push("10.78.0.0/16".parse().unwrap());
    changed.mtu = 1300;

    let mtu = std::thread::scope(|scope| {
        let agent = scope.spawn(|| netns.run(|| tun::update("@tm.nh", "mesh0", &WANTED, LIMIT)).unwrap());
        let give = |_, hello: &tun::Hello| {
            assert_eq!(hello.queues, 0);
            Ok(netns.run(|| tun::update_provided(&changed)).unwrap().unwrap())
        };
        tun::hand_over(listener.as_fd(), LIMIT, give).unwrap();
        agent.join().unwrap()
    });

    assert_eq!(mtu.unwrap(), 1300);
    assert!(support::ip(&netns, "link show dev mesh0").contains("mtu 1300"));
    // The agent that runs sends from the address it has.
    let route = support::ip(&netns, "route get 10.78.9.9");
    assert!(route.contains("dev mesh0 src 10.77.0.5"), "{route}");
    assert!(support::ip(&netns, "route show type unreachable").contains("10.78.0.0/16"));
    // Flows of many ports: one more queue would have some of them.
    let sender = || std::net::UdpSocket::bind("10.77.0.5:0").unwrap().send_to(b"flow", ("10.78.9.9", 7)).unwrap();
    netns.run(|| (0..64).for_each(|_| assert_eq!(sender(), 4))).unwrap();
    assert_eq!(first.queues.iter().map(flows).sum::<usize>(), 64);
}

#[test]
fn a_device_that_is_gone_or_anothers_is_not_brought_up_to_date() {
    let netns = Netns::create().unwrap();
    let update = |owner| netns.run(|| tun::update_provided(&provided(owner, &["10.77.0.5"]))).unwrap();
    let absent = update("pod-1");
    drop(netns.run(|| tun::provide(&provided("pod-1", &["10.77.0.5"]))).unwrap().unwrap());

    let another = update("pod-2");

    assert!(matches!(absent, Err(TunError::Absent { .. })), "{absent:?}");
    assert!(matches!(another, Err(TunError::Busy { .. })), "{another:?}");
}

#[test]
fn an_update_that_is_not_what_the_kernel_says_is_refused() {
    let netns = Netns::create().unwrap();
    let _device = netns.run(|| made("mesh0")).unwrap();
    let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
    for (name, mtu) in [("mesh0", 1401), ("mesh1", 1400)] {
        let outcome = std::thread::scope(|scope| {
            let agent = scope.spawn(|| netns.run(|| tun::update("@tm.nh", "mesh0", &WANTED, LIMIT)).unwrap());
            let give = |_, _: &tun::Hello| {
                Ok(Provided { name: name.into(), mtu, origin: Origin::Existed, queues: Vec::new() })
            };
            tun::hand_over(listener.as_fd(), LIMIT, give).unwrap();
            agent.join().unwrap()
        });

        assert!(matches!(outcome, Err(TunError::Malformed { .. })), "{name} {mtu}: {outcome:?}");
    }
}

#[test]
fn without_the_provided_device_the_mesh_is_unreachable() {
    let netns = Netns::create().unwrap();
    support::ip(&netns, "link add eth0 type bridge");
    support::ip(&netns, "addr add 192.0.2.1/24 dev eth0");
    support::ip(&netns, "link set eth0 up");
    support::ip(&netns, "route add default via 192.0.2.2");
    drop(netns.run(|| tun::provide(&provided("pod-1", &["10.77.0.5"]))).unwrap().unwrap());
    support::ip(&netns, "link del mesh0");

    let sent = netns.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap().connect("10.77.9.9:1")).unwrap();

    assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::HostUnreachable);
}

#[test]
fn a_queue_holds_nothing_from_before_a_restart() {
    let netns = Netns::create().unwrap();
    drop(netns.run(|| tun::provide(&provided("pod-1", &["10.77.0.5"]))).unwrap().unwrap());

    let wanted = Wanted { queues: 2, ..WANTED };
    let (received, _) = exchange_of(&netns, "@tm.nh", &wanted, || {
        let device = tun::provide(&provided("pod-1", &["10.77.0.5"])).unwrap();
        // Between the attachment and the hand-over an application sends.
        let sender = std::net::UdpSocket::bind("10.77.0.5:0").unwrap();
        for port in 1..100 {
            sender.send_to(b"stale", ("10.77.9.9", port)).unwrap();
        }
        Ok(device)
    });

    let Received { tun, origin, .. } = received.unwrap();
    assert_eq!((origin, tun.queues().len()), (Origin::Existed, 2));
    for queue in tun.queues() {
        assert_eq!(queue.read(&mut [0; 2048]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn buffers_are_lifted_beyond_the_limit_of_the_host_and_only_those_of_udp_sockets() {
    let netns = Netns::create().unwrap();
    let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
    let [udp, another] = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();

    let lifted = std::thread::scope(|scope| {
        let helper = scope.spawn(|| {
            let give = |_, _: &tun::Hello| Ok(netns.run(|| made("mesh0")).unwrap());
            tun::hand_over(listener.as_fd(), LIMIT, give).unwrap().lift_buffers(MAX_BUFFER).unwrap()
        });
        let received = netns.run(|| tun::receive("@tm.nh", &WANTED, LIMIT)).unwrap().unwrap();
        let sockets = [udp.as_fd(), tcp.as_fd(), another.as_fd()];
        let lifted = received.helper.lift_buffers(&sockets, 2 * MAX_BUFFER, LIMIT).unwrap();
        assert_eq!(helper.join().unwrap(), lifted);
        lifted
    });

    assert_eq!(lifted, 2);
    for socket in [&udp, &another] {
        // The kernel counts its own overhead too, and says twice the number.
        assert_eq!(getsockopt(socket, sockopt::RcvBuf).unwrap(), 2 * MAX_BUFFER as usize);
        assert_eq!(getsockopt(socket, sockopt::SndBuf).unwrap(), 2 * MAX_BUFFER as usize);
    }
    assert_ne!(getsockopt(&tcp, sockopt::RcvBuf).unwrap(), 2 * MAX_BUFFER as usize);
}

/// What a helper makes of what it should say.
type Lie = fn(Provided) -> Provided;

/// Takes what waits in a queue, and counts the packets of the test.
fn flows(queue: &OwnedFd) -> usize {
    let mut count = 0;
    while poll(&mut [PollFd::new(queue.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0 {
        let mut frame = [0; 2048];
        let len = nix::unistd::read(queue, &mut frame).unwrap();
        count += usize::from(frame[..len].ends_with(b"flow"));
    }
    count
}

/// A device of two queues for a pod.
fn provided<'a>(owner: &'a str, addresses: &[&str]) -> ProvidedSettings<'a> {
    ProvidedSettings {
        name: "mesh0",
        owner,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        networks: ["10.77.0.0/16", "fd77::/64"].map(|network| network.parse().unwrap()).to_vec(),
        mtu: 1400,
        queue_len: 300,
        max_segments: Some(44),
        queues: 2,
    }
}

const WANTED: Wanted<'_> = Wanted { queues: 1, max_segments: None, token: b"" };
const LIMIT: Duration = Duration::from_secs(10);
/// Above `net.core.rmem_max` of nearly every host.
const MAX_BUFFER: u32 = 16 << 20;

fn made(name: &str) -> Provided {
    tun::create(&settings(name)).unwrap().into()
}

/// Both sides of one hand-over inside the namespace.
fn exchange(
    netns: &Netns,
    socket: &str,
    give: impl FnOnce() -> Result<Provided, Refusal> + Send,
) -> (Result<Received, TunError>, io::Result<Client>) {
    exchange_of(netns, socket, &WANTED, give)
}

fn exchange_of(
    netns: &Netns,
    socket: &str,
    wanted: &Wanted<'_>,
    give: impl FnOnce() -> Result<Provided, Refusal> + Send,
) -> (Result<Received, TunError>, io::Result<Client>) {
    let listener = netns.run(|| tun::listen(socket)).unwrap().unwrap();
    std::thread::scope(|scope| {
        let helper = scope
            .spawn(|| netns.run(|| tun::hand_over(listener.as_fd(), Duration::from_secs(10), |_, _| give())).unwrap());
        let received = netns.run(|| tun::receive(socket, wanted, Duration::from_secs(10))).unwrap();
        (received, helper.join().unwrap())
    })
}
