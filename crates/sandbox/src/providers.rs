use crate::bank::ENDPOINTS;

/// A pretend source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `GET /providers/gas`.
    Gas,
    /// `GET /providers/internet`.
    Internet,
    /// Every provider the sandbox does not know.
    Other,
    /// The bank, under `/bank`.
    SandboxBank,
}

impl Source {
    /// Every source, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Gas, Self::Internet, Self::Other, Self::SandboxBank];

    /// Returns the name used in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gas => "gas",
            Self::Internet => "internet",
            Self::Other => "other",
            Self::SandboxBank => "sandbox-bank",
        }
    }

    /// Returns the source called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }

    /// Returns the source that answers for the provider `name`.
    pub(crate) fn of_provider(name: &str) -> Self {
        Self::from_name(name)
            .filter(|source| source.payload().is_some())
            .unwrap_or(Self::Other)
    }

    /// Returns the body of a provider's good answer, or nothing where there is no such provider.
    pub(crate) fn payload(self) -> Option<&'static str> {
        match self {
            Self::Gas => Some(GAS),
            Self::Internet => Some(INTERNET),
            Self::Other | Self::SandboxBank => None,
        }
    }

    /// Returns what a budget may count for itself.
    pub(crate) fn endpoints(self) -> &'static [&'static str] {
        match self {
            Self::Gas => &["gas"],
            Self::Internet => &["internet"],
            Self::Other => &["other"],
            Self::SandboxBank => &ENDPOINTS,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Gas => 0,
            Self::Internet => 1,
            Self::Other => 2,
            Self::SandboxBank => 3,
        }
    }
}

// `30.00` is deliberate: whoever parses and prints it again is found out.
const GAS: &str = r#"[{"billedOn":"2026-01-31T09:30:00.000Z","amount":22.27},{"billedOn":"2026-02-28T09:30:00.000Z","amount":30.00}]"#;
const INTERNET: &str = r#"[{"billedOn":"2026-02-07T06:00:00.000Z","amount":15.12},{"billedOn":"2026-03-07T06:00:00.000Z","amount":15.12}]"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_found_by_its_name_and_its_index() {
        for (index, source) in Source::ALL.into_iter().enumerate() {
            assert_eq!(Source::from_name(source.name()), Some(source));
            assert_eq!(source.index(), index);
        }
        assert_eq!(Source::from_name("water"), None);
        for no_provider in ["water", "other", "sandbox-bank"] {
            assert_eq!(Source::of_provider(no_provider), Source::Other);
        }
    }
}
