//! What a key of the file is. The keys themselves are in [`keys`].

mod keys;

pub(super) use keys::KEYS;

/// A key, or a group of keys.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
    /// Whether this implementation added it; the original refuses a file that has it.
    pub(super) ours: bool,
    /// One line.
    pub(super) short: &'static str,
    /// More, line by line; may be empty.
    pub(super) long: &'static str,
}

/// What stands there.
pub(super) enum Kind {
    Group(&'static [Key]),
    /// Groups by a name of the user's.
    Groups(&'static [Key]),
    /// Names and values.
    Labels,
    List(Scalar),
    One(Scalar),
}

/// A single value.
pub(super) enum Scalar {
    /// An IP address.
    Address,
    Bool,
    /// One of these words, each with its meaning.
    Choice(&'static [(&'static str, &'static str)]),
    /// IPv4 address with prefix.
    Cidr,
    /// UDP address other nodes send to.
    Endpoint,
    /// An existing file.
    File,
    Integer {
        min: i64,
        max: i64,
    },
    Ipv4,
    Ipv6,
    /// IPv6 network that leaves 64 bits or more.
    Ipv6Prefix,
    Secret,
    Text,
    /// Seconds.
    Timing {
        min: f64,
        max: f64,
        /// Whether 0 is allowed, below `min`.
        or_zero: bool,
    },
    Url,
    Version,
    /// Public key of WireGuard.
    WireGuardKey,
}

/// Whether it must stand there.
pub(super) enum Need {
    /// No, and nothing takes its place.
    Absent,
    /// No; this takes its place, written as in the file.
    Default(&'static str),
    /// Yes.
    Required,
}

impl Kind {
    /// The word for people, with the range where there is one.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Group(_) => "group".into(),
            Self::Groups(_) => "groups by name".into(),
            Self::Labels => "map of name to value".into(),
            Self::List(scalar) => format!("list of: {}", scalar.describe()),
            Self::One(scalar) => scalar.describe(),
        }
    }
}

impl Scalar {
    /// The word for people, with the range where there is one.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Address => "IP address".into(),
            Self::Bool => "true or false".into(),
            Self::Choice(choices) => choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "),
            Self::Cidr => "IPv4 address/prefix".into(),
            Self::Endpoint => "IP:port, IPv6 in brackets".into(),
            Self::File => "path of a file".into(),
            Self::Integer { min, max: i64::MAX } => format!("integer from {min}"),
            Self::Integer { min, max } => format!("integer from {min} to {max}"),
            Self::Ipv4 => "IPv4 address".into(),
            Self::Ipv6 => "IPv6 address".into(),
            Self::Ipv6Prefix => "IPv6 address/prefix of at most 64".into(),
            Self::Secret => "text of 32 or more characters".into(),
            Self::Text => "text".into(),
            Self::Timing { min, max, or_zero: false } => format!("duration from {min} s to {max} s"),
            Self::Timing { min, max, or_zero: true } => format!("0, or duration from {min} s to {max} s"),
            Self::Url => "https URL".into(),
            Self::Version => "1.1".into(),
            Self::WireGuardKey => "32 bytes in base64".into(),
        }
    }
}

/// The key that holds all others.
pub(super) const ROOT: &str = "tun_mesh";
