use std::fmt;

/// One thing to mend or to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How to mend it.
    pub fix: String,
    /// Line of the file, from 1, where there is one.
    pub line: Option<usize>,
    /// The key, such as `tun_mesh/clustering/auth/secret`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// The value found, shortened; never that of a secret.
    pub value: Option<String>,
}

impl Finding {
    pub(super) fn new(path: &str, line: Option<usize>, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), line, path: path.to_owned(), reason: reason.into(), value: None }
    }

    pub(super) fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.chars().take(MAX_VALUE).collect());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { "the file" } else { &self.path })?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        if let Some(value) = &self.value {
            write!(f, " is {value:?}")?;
        }
        write!(f, ": {}. Fix: {}", self.reason, self.fix)
    }
}

/// Everything that keeps a file from being used; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Finding>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "  {finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Characters of a value that are repeated.
const MAX_VALUE: usize = 80;
