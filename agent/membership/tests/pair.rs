//! A few nodes with a network that loses nothing: what each call does.

mod support;

use support::{Net, draft};
use tunmesh_membership::Event;

#[test]
fn two_nodes_find_each_other() {
    let mut net = Net::with_nodes(2);
    net.join(0, 1);

    net.run_millis(200);

    assert_eq!((net.known(0), net.known(1)), (vec![1], vec![0]));
    assert!(matches!(net.events(0).as_slice(), [Event::Up(record)] if record.id == draft(1).id));
}
