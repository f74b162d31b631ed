/// How long before or after its issue a token is valid, in seconds.
///
/// The original prints the claim it computes from this as an integer if the configuration gave an integer, and as a
/// float (`1795177372.0`) if it gave a float, a text with a unit, or nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Length in seconds, finite and not negative.
    pub seconds: f64,
    /// Whether the configuration gave an integer.
    pub integer: bool,
}

impl Window {
    /// A window that was configured as whole seconds.
    pub const fn integer(seconds: u32) -> Self {
        Self { seconds: seconds as f64, integer: true }
    }

    /// A window that was configured as a float or by a text.
    pub const fn float(seconds: f64) -> Self {
        Self { seconds, integer: false }
    }
}

/// The validity of the tokens a node signs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    /// How long before its issue a token is already valid, which forgives a reader whose clock is behind.
    pub early: Window,
    /// How long after its issue a token is still valid.
    pub validity: Window,
}

impl Default for Windows {
    /// 5 s before and 30 s after, as floats: the defaults of the original.
    fn default() -> Self {
        Self { early: Window::float(5.0), validity: Window::float(30.0) }
    }
}
