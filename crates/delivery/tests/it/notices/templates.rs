use serde_json::{Map, Value, json};
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_delivery::Templates;
use wellspring_engine::{NoticeAddress, NoticeOrder};

use super::support::{facts, order};

#[test]
fn every_message_says_something_with_all_facts_and_with_none() {
    let templates = Templates::load(None, "en").unwrap();
    for (kind, language, events) in everything() {
        let order = message(kind, language, events.clone());
        let about = format!("{kind} {language} {events:?}");
        let words = templates.words(&order);
        let letter = templates.letter(&order);
        assert_eq!(words.language, language);
        for text in [
            &words.subject,
            &words.text,
            &words.short,
            &words.action,
            &letter.subject,
            &letter.text,
            &letter.html,
        ] {
            assert!(!text.trim().is_empty(), "{about}");
            for leftover in ["{{", "{%", "none", "undefined", "None", "  on  ", "()"] {
                let clean = text.replace("text-decoration:none", "");
                assert!(!clean.contains(leftover), "{leftover} in {about}: {text}");
            }
        }
        assert!(!words.subject.contains('\n') && words.subject.chars().count() <= 120);
        assert_eq!(words.subject, letter.subject);
        assert!(letter.html.contains(&format!("<html lang=\"{language}\">")));
        assert!(letter.text.lines().all(|line| line.chars().count() < 900));
    }
}

#[test]
fn a_digest_tells_of_each_event_and_a_name_cannot_be_markup() {
    let templates = Templates::load(None, "en").unwrap();
    let mut second = facts();
    second.insert("source".into(), "<script>alert(1)</script>".into());
    second.insert("link".into(), "javascript:alert(1)".into());
    let order = message(
        NotificationKind::PlaidConnectionIssue,
        "de-CH",
        vec![facts(), second],
    );

    let letter = templates.letter(&order);
    let words = templates.words(&order);

    assert_eq!(letter.subject, "2 Nachrichten von Haushaltsbuch");
    assert_eq!(words.language, "de");
    assert!(
        letter.html.contains("Städtische &lt;Bank&gt;"),
        "{}",
        letter.html
    );
    assert!(!letter.html.contains("<script>") && !letter.html.contains("javascript:"));
    assert!(
        letter
            .text
            .contains("Bitte melden Sie sich wieder bei Städtische <Bank> an")
    );
    assert!(
        words.short.starts_with("2 neue Nachrichten"),
        "{}",
        words.short
    );
    assert_eq!(words.link, None, "there are two places to go to");
}

#[test]
fn moments_are_told_in_the_language_and_the_zone_of_the_person() {
    let templates = Templates::load(None, "en").unwrap();
    let mut maintenance = facts();
    maintenance.insert("reason".into(), "maintenance".into());
    for (language, zone, expected) in [
        ("en", None, "1 December 2026, 06:00 UTC"),
        ("de", None, "1. Dezember 2026, 06:00 Uhr (UTC)"),
        (
            "de",
            Some("Europe/Berlin"),
            "1. Dezember 2026, 07:00 Uhr (CET)",
        ),
        ("fr", None, "1 December 2026, 06:00 UTC"),
    ] {
        let mut facts = maintenance.clone();
        facts.extend(zone.map(|zone| ("zone".to_owned(), Value::from(zone))));
        let order = message(NotificationKind::BankMaintenance, language, vec![facts]);
        let text = templates.words(&order).text;
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn files_take_the_place_of_what_is_shipped_and_may_add_languages() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "en/feature_update.email.html",
        "<p>{{ text }} {{ missing.fact }}</p>",
    );
    write("en/feature_update.email.subject", "Own\nsubject");
    write(
        "fr/feature_update.txt",
        "{% block subject %}Du nouveau{% endblock %}{% block text %}Voilà.{% endblock %}\
         {% block short %}Voilà.{% endblock %}{% block action %}Voir{% endblock %}",
    );
    let templates = Templates::load(Some(folder.path()), "en").unwrap();
    let facts = json!({"text": "<b>"}).as_object().unwrap().clone();

    let own = templates.letter(&message(NotificationKind::FeatureUpdate, "en", vec![facts]));
    assert_eq!(own.html, "<p>&lt;b&gt; </p>");
    assert_eq!(own.subject, "Own subject");
    assert!(own.text.contains("<b>"));
    let french = message(NotificationKind::FeatureUpdate, "fr-FR", vec![Map::new()]);
    assert_eq!(templates.words(&french).subject, "Du nouveau");
    let other = message(NotificationKind::SecurityAlert, "fr-FR", vec![Map::new()]);
    assert_eq!(templates.words(&other).language, "en");
    let outside = message(
        NotificationKind::SecurityAlert,
        "../../etc",
        vec![Map::new()],
    );
    assert_eq!(templates.words(&outside).language, "en");

    for (name, text) in [
        ("en/feature_update.sms.html", "x"),
        ("en/feature_updates.txt", "x"),
        ("en/feature_update.push.txt", "{{ text"),
        ("de/feature_update.txt", "no blocks"),
        ("readme.md", "x"),
    ] {
        write(name, text);
        let error = Templates::load(Some(folder.path()), "en").unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    Templates::load(None, "xx").unwrap_err();
}

#[test]
fn a_template_that_fails_on_these_facts_gives_way_to_the_shipped_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("en")).unwrap();
    let fragile = "{% if text %}{{ text|int }}{% endif %}";
    std::fs::write(folder.path().join("en/feature_update.email.txt"), fragile).unwrap();
    let templates = Templates::load(Some(folder.path()), "en").unwrap();
    let facts = json!({"text": "no number"}).as_object().unwrap().clone();

    let letter = templates.letter(&message(NotificationKind::FeatureUpdate, "en", vec![facts]));

    assert!(letter.text.contains("no number"), "{}", letter.text);
}

fn message(kind: NotificationKind, language: &str, events: Events) -> NoticeOrder {
    let to = NoticeAddress::Email("a@example.net".to_owned());
    NoticeOrder {
        kind,
        language: language.to_owned(),
        events,
        ..order(Channel::Email, to)
    }
}

type Events = Vec<Map<String, Value>>;

/// Every kind in every language with each state and reason, with nothing, and as a digest.
fn everything() -> Vec<(NotificationKind, &'static str, Events)> {
    let mut events = vec![
        Vec::new(),
        vec![Map::new()],
        vec![Map::new(), facts(), facts()],
    ];
    for state in ["opened", "mended", "unheard of"] {
        for reason in REASONS {
            let mut facts = facts();
            facts.insert("state".into(), state.into());
            facts.insert("reason".into(), reason.into());
            events.push(vec![facts]);
            let bare = json!({"state": state, "reason": reason, "until": null, "link": ""});
            events.push(vec![bare.as_object().unwrap().clone()]);
        }
    }
    let mut all = Vec::new();
    for kind in NotificationKind::ALL {
        for language in ["en", "de"] {
            all.extend(events.iter().map(|events| (kind, language, events.clone())));
        }
    }
    all
}

const REASONS: [&str; 7] = [
    "reauth_required",
    "question",
    "error",
    "maintenance",
    "outage",
    "consent_expiring",
    "test",
];
