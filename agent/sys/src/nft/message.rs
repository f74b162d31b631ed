//! The messages of one nftables transaction.
//!
//! Each is a netlink header (16 bytes, this machine's order), a netfilter header (4 bytes: family, version 0, resource
//! id in network order) and attributes: length and type (2 bytes each, this machine's order), then the value, padded to
//! 4 bytes. Numbers inside attributes are in network order. Names and numbers are those of
//! `linux/netfilter/nf_tables.h`.

/// Which end of a packet's way through the host a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Interface {
    /// Came in by the device.
    Input,
    /// Leaves by it.
    Output,
}

/// A transaction: all of its changes are made, or none.
pub(super) struct Batch {
    bytes: Vec<u8>,
    changes: usize,
}

impl Batch {
    pub(super) fn begin() -> Self {
        let mut batch = Self { bytes: Vec::new(), changes: 0 };
        batch.message(BATCH_BEGIN, REQUEST, UNSPECIFIED, &[]);
        batch
    }

    /// Adds a new table owned by the sending socket.
    pub(super) fn table(&mut self, name: &str) -> &mut Self {
        let flags = number(TABLE_FLAGS, TABLE_F_OWNER);
        self.change(NEW_TABLE, EXCLUSIVE, &[string(TABLE_NAME, name), flags].concat())
    }

    /// Adds a chain that every packet passes last, whether made here or forwarded.
    pub(super) fn postrouting_chain(&mut self, table: &str, name: &str) -> &mut Self {
        let hook = [number(HOOK_NUMBER, POST_ROUTING), number(HOOK_PRIORITY, PRIORITY_MANGLE.cast_unsigned())];
        let attributes = [
            string(CHAIN_TABLE, table),
            string(CHAIN_NAME, name),
            nested(CHAIN_HOOK, &hook.concat()),
            string(CHAIN_TYPE, "filter"),
        ];
        self.change(NEW_CHAIN, EXCLUSIVE, &attributes.concat())
    }

    /// Adds the rule `oifname DEVICE tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`, or the same
    /// with `iifname`. It lowers a larger size only.
    pub(super) fn clamp_rule(&mut self, table: &str, chain: &str, end: Interface, device: &str) -> &mut Self {
        let key = match end {
            Interface::Input => META_INPUT_NAME,
            Interface::Output => META_OUTPUT_NAME,
        };
        let mut name = device.as_bytes().to_vec();
        name.resize(libc::IFNAMSIZ, 0);
        let load_flags = [
            number(PAYLOAD_DESTINATION, REGISTER),
            number(PAYLOAD_BASE, TRANSPORT_HEADER),
            number(PAYLOAD_OFFSET, TCP_FLAGS_AT),
            number(PAYLOAD_LEN, 1),
        ];
        let mask = [
            number(BITWISE_SOURCE, REGISTER),
            number(BITWISE_DESTINATION, REGISTER),
            number(BITWISE_LEN, 1),
            nested(BITWISE_MASK, &attribute(DATA_VALUE, &[TCP_SYN | TCP_RST])),
            nested(BITWISE_XOR, &attribute(DATA_VALUE, &[0])),
        ];
        let load_size = [number(RT_DESTINATION, REGISTER), number(RT_KEY, RT_TCP_MSS)];
        let to_network_order = [
            number(BYTEORDER_SOURCE, REGISTER),
            number(BYTEORDER_DESTINATION, REGISTER),
            number(BYTEORDER_OPERATION, BYTEORDER_HTON),
            number(BYTEORDER_LEN, 2),
            number(BYTEORDER_SIZE, 2),
        ];
        let write_option = [
            attribute(EXTHDR_TYPE, &[TCP_OPTION_MSS]),
            number(EXTHDR_OFFSET, 2),
            number(EXTHDR_LEN, 2),
            number(EXTHDR_OPERATION, EXTHDR_TCP_OPTION),
            number(EXTHDR_SOURCE, REGISTER),
        ];
        let expressions = [
            load_meta(key),
            equals(&name),
            load_meta(META_L4_PROTOCOL),
            equals(&[libc::IPPROTO_TCP as u8]),
            expression("payload", &load_flags.concat()),
            expression("bitwise", &mask.concat()),
            equals(&[TCP_SYN]),
            expression("rt", &load_size.concat()),
            expression("byteorder", &to_network_order.concat()),
            expression("exthdr", &write_option.concat()),
        ];
        let attributes =
            [string(RULE_TABLE, table), string(RULE_CHAIN, chain), nested(RULE_EXPRESSIONS, &expressions.concat())];
        self.change(NEW_RULE, APPEND, &attributes.concat())
    }

    /// Ends the transaction; returns its bytes, and the number of acknowledgements it will get.
    pub(super) fn end(mut self) -> (Vec<u8>, usize) {
        self.message(BATCH_END, REQUEST, UNSPECIFIED, &[]);
        (self.bytes, self.changes)
    }

    fn change(&mut self, kind: u16, flags: u16, attributes: &[u8]) -> &mut Self {
        self.changes += 1;
        self.message(SUBSYSTEM << 8 | kind, REQUEST | ACKNOWLEDGE | CREATE | flags, FAMILY_INET, attributes);
        self
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, attributes: &[u8]) {
        let len = (HEADERS_LEN + attributes.len()) as u32;
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        // Sequence number and sender: none, the kernel is the only one to answer.
        self.bytes.extend([0; 8]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(SUBSYSTEM.to_be_bytes());
        self.bytes.extend(attributes);
    }
}

fn load_meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(META_DESTINATION, REGISTER), number(META_KEY, key)].concat())
}

fn equals(value: &[u8]) -> Vec<u8> {
    let data = nested(CMP_DATA, &attribute(DATA_VALUE, value));
    expression("cmp", &[number(CMP_SOURCE, REGISTER), number(CMP_OPERATION, CMP_EQUAL), data].concat())
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(LIST_ELEMENT, &[string(EXPRESSION_NAME, name), nested(EXPRESSION_DATA, data)].concat())
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, value)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn string(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len() + 3);
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Bytes of the two headers of a message.
const HEADERS_LEN: usize = 20;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
const NESTED: u16 = libc::NLA_F_NESTED as u16;

const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
const BATCH_BEGIN: u16 = libc::NFNL_MSG_BATCH_BEGIN as u16;
const BATCH_END: u16 = libc::NFNL_MSG_BATCH_END as u16;
const NEW_TABLE: u16 = libc::NFT_MSG_NEWTABLE as u16;
const NEW_CHAIN: u16 = libc::NFT_MSG_NEWCHAIN as u16;
const NEW_RULE: u16 = libc::NFT_MSG_NEWRULE as u16;

const UNSPECIFIED: u8 = 0;
/// IPv4 and IPv6 in one table.
const FAMILY_INET: u8 = libc::NFPROTO_INET as u8;
const POST_ROUTING: u32 = libc::NF_INET_POST_ROUTING as u32;
/// Where packets are altered; before address translation of the source.
const PRIORITY_MANGLE: i32 = libc::NF_IP_PRI_MANGLE;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_F_OWNER: u32 = 2;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
/// The one 16-byte register the rules use.
const REGISTER: u32 = 1;

const META_DESTINATION: u16 = 1;
const META_KEY: u16 = 2;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_L4_PROTOCOL: u32 = 16;

const CMP_SOURCE: u16 = 1;
const CMP_OPERATION: u16 = 2;
const CMP_DATA: u16 = 3;
const CMP_EQUAL: u32 = 0;

const PAYLOAD_DESTINATION: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const TRANSPORT_HEADER: u32 = 2;

const BITWISE_SOURCE: u16 = 1;
const BITWISE_DESTINATION: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;

const RT_DESTINATION: u16 = 1;
const RT_KEY: u16 = 2;
const RT_TCP_MSS: u32 = 3;

const BYTEORDER_SOURCE: u16 = 1;
const BYTEORDER_DESTINATION: u16 = 2;
const BYTEORDER_OPERATION: u16 = 3;
const BYTEORDER_LEN: u16 = 4;
const BYTEORDER_SIZE: u16 = 5;
const BYTEORDER_HTON: u32 = 1;

const EXTHDR_TYPE: u16 = 2;
const EXTHDR_OFFSET: u16 = 3;
const EXTHDR_LEN: u16 = 4;
const EXTHDR_OPERATION: u16 = 6;
const EXTHDR_SOURCE: u16 = 7;
const EXTHDR_TCP_OPTION: u32 = 1;

/// RFC 9293, section 3.1: the octet of the flags in the TCP header, two of them, and the option.
const TCP_FLAGS_AT: u32 = 13;
const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_OPTION_MSS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        assert_eq!(attribute(3, &[7]), [5_u16.to_ne_bytes(), 3_u16.to_ne_bytes(), [7, 0], [0, 0]].concat());
        assert_eq!(number(1, 2), [8_u16.to_ne_bytes(), 1_u16.to_ne_bytes(), [0, 0], [0, 2]].concat());
    }

    #[test]
    fn a_batch_is_whole_messages_between_begin_and_end() {
        let mut batch = Batch::begin();
        batch.table("t").clamp_rule("t", "c", Interface::Input, "a-name-too-long-for-a-device");

        let (mut bytes, changes) = batch.end();

        let mut kinds = Vec::new();
        while !bytes.is_empty() {
            let len = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
            kinds.push(u16::from_ne_bytes(bytes[4..6].try_into().unwrap()));
            assert_eq!(len % 4, 0);
            bytes.drain(..len as usize);
        }
        assert_eq!((kinds, changes), (vec![16, 0xa00, 0xa06, 17], 2));
    }
}
