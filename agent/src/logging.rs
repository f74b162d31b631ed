//! Log lines on standard error: text or JSON, level from the file and changed by reload.

use std::error::Error;
use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};
use tunmesh_protocol::config::{LogFormat, LogLevel};

/// Starts logging for the rest of the process. `RUST_LOG`, if set, wins over the level of the file.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(lines.json()).init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
    }
    let _started_twice = FILTER.set(handle);
}

/// Changes the level of a running agent.
pub(crate) fn change_level(level: LogLevel) {
    if let Some(handle) = FILTER.get() {
        let _gone = handle.reload(filter(level));
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Transparent wrappers repeat their cause.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
    };
    let from_environment = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    from_environment.unwrap_or_else(|| Targets::new().with_default(level))
}

static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();
