//! Schemas that the derive cannot write: bounded strings and lists with rules of their own.
//!
//! Every string and list has a bound, because the API server multiplies bounds to estimate the cost of a CEL rule and
//! refuses a definition that could cost too much.

use schemars::{Schema, json_schema};
use serde_json::{Value, json};

/// A CEL rule and what the API server answers where it fails: the field, what is wrong, the fix.
pub(crate) type Rule = (&'static str, &'static str);

/// A string of at most `max_length` characters.
pub(crate) fn text(max_length: u32, rules: &[Rule]) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": max_length, "x-kubernetes-validations": list(rules)})
}

/// A list of at most `max_items` of `items`, replaced as a whole by server-side apply.
pub(crate) fn array(max_items: u32, items: &Schema, rules: &[Rule]) -> Schema {
    let mut schema = json_schema!({"type": "array", "maxItems": max_items, "items": items});
    if !rules.is_empty() {
        schema.insert("x-kubernetes-validations".into(), list(rules));
    }
    schema
}

fn list(rules: &[Rule]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// An IP address in its one canonical spelling (RFC 5952 for IPv6).
pub(crate) const IP_RULES: &[Rule] = &[
    ("isIP(self)", "address must be an IP address without prefix: write 10.77.0.9 or fd77::9"),
    (
        "!isIP(self) || ip.isCanonical(self)",
        "address must be in canonical form: write IPv6 in lower case with :: for the longest run of zeros",
    ),
];

/// Longest IPv6 address as text.
pub(crate) const IP_LENGTH: u32 = 39;
/// Longest IPv6 network as text.
pub(crate) const CIDR_LENGTH: u32 = 43;
/// Longest name of a namespaced object, a DNS subdomain (RFC 1123).
pub(crate) const NAME_LENGTH: u32 = 253;
/// Longest name of a namespace, a DNS label (RFC 1123).
pub(crate) const LABEL_LENGTH: u32 = 63;
/// Length of the UIDs of Kubernetes (RFC 4122), with room to spare.
pub(crate) const UID_LENGTH: u32 = 64;

/// The name of a namespace.
pub(crate) fn namespace(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": LABEL_LENGTH})
}

/// The name of an object.
pub(crate) fn name(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": NAME_LENGTH})
}

/// The UID of an object.
pub(crate) fn uid(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": UID_LENGTH})
}

/// One mesh address.
pub(crate) fn address(_: &mut schemars::SchemaGenerator) -> Schema {
    text(IP_LENGTH, IP_RULES)
}

/// Networks as the operator records them.
pub(crate) fn networks(_: &mut schemars::SchemaGenerator) -> Schema {
    array(MAX_NETWORKS, &json_schema!({"type": "string", "maxLength": CIDR_LENGTH}), &[])
}

/// Sockets as the operator records them: `192.0.2.1:4567`, `[2001:db8::1]:4567`.
pub(crate) fn endpoints(_: &mut schemars::SchemaGenerator) -> Schema {
    array(MAX_ENDPOINTS, &json_schema!({"type": "string", "maxLength": MAX_ENDPOINT_LENGTH}), &[])
}

/// Most networks of one mesh, generated ones included.
const MAX_NETWORKS: u32 = 10;
/// Most endpoints of one mesh or member.
const MAX_ENDPOINTS: u32 = 64;
/// A host name of 253 characters, a colon and a port.
const MAX_ENDPOINT_LENGTH: u32 = 259;
