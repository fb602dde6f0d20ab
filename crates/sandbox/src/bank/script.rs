use super::account::Account;
use super::document::Kind;
use super::refusal::Refusal;
use super::step::{Notice, Step};

/// What happens under a password, at each login with it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) password: &'static str,
    /// What it does, for people.
    pub(super) about: &'static str,
    pub(super) entry: Entry,
    pub(super) account: &'static Account,
    pub(super) kinds: &'static [Kind],
    pub(super) flaw: Flaw,
}

/// How a login ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Opens,
    Asks(Step),
    Refuses(Refusal),
    /// With a `Retry-After` in seconds.
    RefusesFor(Refusal, u64),
}

/// What goes wrong after the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Each document takes its time.
    SlowDocuments,
    /// Bills are listed and cannot be had.
    NoBills,
    /// The list of documents is no JSON, and one transaction in five has mistyped fields.
    Junk,
    /// Each document is refused with a 429 that names no time.
    DocumentsThrottled,
    /// Account data are refused.
    Revoked,
    /// Every other login's session is gone when its question is answered.
    LosesSession,
    /// More than a few transactions at once are refused.
    FewAtOnce,
}

impl Script {
    /// Returns what happens to `user` with `password`; a wrong one is refused.
    pub(super) fn of(user: &str, password: &str) -> Option<&'static Self> {
        if user != USER {
            return None;
        }
        SCRIPTS.iter().find(|script| script.password == password)
    }

    pub(super) fn all() -> &'static [Self] {
        SCRIPTS
    }
}

const fn opens(password: &'static str, about: &'static str, kinds: &'static [Kind]) -> Script {
    Script {
        password,
        about,
        entry: Entry::Opens,
        account: &Account::USUAL,
        kinds,
        flaw: Flaw::None,
    }
}

const fn asks(password: &'static str, about: &'static str, step: Step) -> Script {
    Script {
        entry: Entry::Asks(step),
        ..opens(password, about, STATEMENTS)
    }
}

const fn ends(password: &'static str, about: &'static str, entry: Entry) -> Script {
    Script {
        entry,
        ..opens(password, about, &[])
    }
}

const fn fails(
    password: &'static str,
    about: &'static str,
    kinds: &'static [Kind],
    flaw: Flaw,
) -> Script {
    Script {
        flaw,
        ..opens(password, about, kinds)
    }
}

pub(super) const USER: &str = "user";

const STATEMENTS: &[Kind] = &[Kind::Statement];
const EVERY_KIND: &[Kind] = &Kind::ALL;

const SCRIPTS: &[Script] = &[
    opens("pass", "logs in; statements", STATEMENTS),
    opens("statements", "logs in; 3 statements", STATEMENTS),
    opens("bills", "logs in; 2 bills", &[Kind::Bill]),
    opens("notices", "logs in; 1 notice", &[Kind::Notice]),
    opens("all", "logs in; statements, bills and notices", EVERY_KIND),
    opens("nodocs", "logs in; no documents", &[]),
    Script {
        account: &Account::OTHER,
        ..opens("otheraccount", "logs in to another account", STATEMENTS)
    },
    ends(
        "wrong",
        "wrong credentials; user and pass are right",
        Entry::Refuses(Refusal::InvalidCredentials),
    ),
    asks(
        "statefail",
        "asks for the region; any answer will do",
        Step::Region,
    ),
    asks(
        "branchfail",
        "asks for the branch code; any answer will do",
        Step::Branch,
    ),
    asks("pinfail", "asks for a PIN; any answer will do", Step::Pin),
    asks(
        "lockedoutfail",
        "notice: the account is locked",
        Step::Notice(Notice::LockedOut),
    ),
    asks(
        "useractionrequiredfail",
        "notice: something is to be done at the bank",
        Step::Notice(Notice::UserActionRequired),
    ),
    asks(
        "setupaccountfail",
        "notice: the account is not set up yet",
        Step::Notice(Notice::SetUpAccount),
    ),
    asks(
        "notsupportedfail",
        "notice: the account is not supported",
        Step::Notice(Notice::NotSupported),
    ),
    asks(
        "notpaperlessfail",
        "notice: statements come on paper",
        Step::Notice(Notice::NotPaperless),
    ),
    asks(
        "mfaquestion",
        "asks a secret question; the answer is Smith",
        Step::Secret,
    ),
    asks(
        "onetimeauth",
        "asks how to send a code, then for the code; it is 123456",
        Step::Delivery,
    ),
    asks(
        "onetimeauthmultiple",
        "asks three multiple-choice questions at once; any choice will do",
        Step::Several,
    ),
    asks(
        "captcha",
        "shows a picture; `GET /control` says what is on it",
        Step::Captcha,
    ),
    asks(
        "consent",
        "sends to a page of the bank to agree or refuse",
        Step::Consent,
    ),
    asks(
        "everypart",
        "one question with every kind of part; any answers will do",
        Step::EveryPart,
    ),
    Script {
        flaw: Flaw::LosesSession,
        ..asks(
            "expired-session",
            "asks for a PIN; at every other login the session is gone when it is answered",
            Step::Pin,
        )
    },
    ends("down", "503 at the login", Entry::Refuses(Refusal::Down)),
    ends(
        "maintenance",
        "503 at the login, maintenance for another minute",
        Entry::RefusesFor(Refusal::Maintenance, 60),
    ),
    ends(
        "throttled",
        "429 at the login, for another 30 seconds",
        Entry::RefusesFor(Refusal::Throttled, 30),
    ),
    fails(
        "ratelimit",
        "logs in; 429 at each document, with no word on when to come back",
        STATEMENTS,
        Flaw::DocumentsThrottled,
    ),
    fails(
        "slow",
        "logs in; each document takes 2 seconds",
        STATEMENTS,
        Flaw::SlowDocuments,
    ),
    fails(
        "partial",
        "logs in; statements and notices can be had, bills end in 500",
        EVERY_KIND,
        Flaw::NoBills,
    ),
    fails(
        "junk",
        "logs in; the list of documents is broken JSON, one transaction in five is mistyped",
        STATEMENTS,
        Flaw::Junk,
    ),
    fails(
        "toomuch",
        "logs in; 413 where more than 10 transactions are asked for at once",
        STATEMENTS,
        Flaw::FewAtOnce,
    ),
    fails(
        "revoked",
        "logs in; the consent has been withdrawn",
        STATEMENTS,
        Flaw::Revoked,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_password_has_one_script_that_the_guide_tells_of() {
        let guide = include_str!("../../../../docs/SANDBOX.md");
        for script in Script::all() {
            let found = Script::of(USER, script.password).unwrap();
            assert!(std::ptr::eq(found, script), "{}", script.password);
            let row = format!("| `{}` |", script.password);
            assert!(guide.contains(&row), "{row}");
        }
        assert_eq!(
            guide.matches("\n| `").count(),
            Script::all().len() + SETTINGS
        );
        assert!(Script::of("somebody", "pass").is_none());
        assert!(Script::of(USER, "").is_none());
    }

    /// Rows of the guide's other table.
    const SETTINGS: usize = 7;
}
