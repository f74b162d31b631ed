use tunmesh_protocol::ControlUrl;

/// Where a URL points, as a key: equal for two URLs exactly if [`ControlUrl::same_place`] holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// In lower case.
    host: String,
    port: u16,
}

impl Place {
    pub(crate) fn of(url: &ControlUrl) -> Self {
        Self { host: url.host().to_ascii_lowercase(), port: url.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_equal_exactly_where_urls_are_the_same_place() {
        let urls: Vec<ControlUrl> =
            ["https://a", "https://A:443/", "https://a:444", "https://[fd77::1]", "https://[FD77::1]/x", "https://b"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        for a in &urls {
            for b in &urls {
                assert_eq!(Place::of(a) == Place::of(b), a.same_place(b), "{a} {b}");
            }
        }
    }
}
