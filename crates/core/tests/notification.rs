//! Who is told what, when, and how often.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain fails")]
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::time::Duration;

use wellspring_core::notification::{
    Channel, Digest, Issue, IssueKey, Maintenance, NotificationKind, Observation, Planned,
    Preferences, QuietHours, Reach, Telling, plan, quiet_until, retry_after,
};
use wellspring_core::{IncidentId, Timestamp};

const ISSUE: NotificationKind = NotificationKind::PlaidConnectionIssue;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn reach() -> Reach {
    Reach {
        email: true,
        sms: true,
        webhook: false,
        push: vec![7, 8],
    }
}

fn berlin(digest: Digest) -> Preferences {
    Preferences {
        quiet_hours: Some(QuietHours {
            from: "22:00".parse().unwrap(),
            to: "07:30".parse().unwrap(),
        }),
        time_zone: "Europe/Berlin".to_owned(),
        digest,
        ..Preferences::default()
    }
}

fn seen(state: &str, access: &'static str, outcome: Option<&'static str>) -> Observation<'static> {
    Observation {
        state: match state {
            "waiting" => "waiting",
            "error" => "error",
            "question" => "question",
            "manual" => "manual",
            "connecting" => "connecting",
            other => panic!("{other}"),
        },
        access,
        outcome,
        reason: Some("schedule"),
    }
}

#[test]
fn each_address_is_told_and_what_is_off_is_not() {
    let now = at("2026-11-21T12:00:00Z");
    let mut wishes = Preferences::default();
    let channels = |planned: &[Planned]| -> Vec<(Channel, u64)> {
        planned.iter().map(|one| (one.channel, one.slot)).collect()
    };

    let planned = plan(now, ISSUE, &wishes, &reach(), |_| true);
    let all = [
        (Channel::Email, 0),
        (Channel::InApp, 0),
        (Channel::Push, 7),
        (Channel::Push, 8),
    ];
    assert_eq!(channels(&planned), all);
    assert!(planned.iter().all(|one| one.due == now && !one.gathers));

    wishes.set(ISSUE, Channel::Email, false);
    wishes.set(ISSUE, Channel::Sms, true);
    wishes.channels_off.insert(Channel::Push);
    let planned = plan(now, ISSUE, &wishes, &reach(), |_| true);
    assert_eq!(channels(&planned), [(Channel::InApp, 0), (Channel::Sms, 0)]);
    let planned = plan(now, ISSUE, &wishes, &reach(), |one| one == Channel::InApp);
    assert_eq!(channels(&planned), [(Channel::InApp, 0)]);
    wishes.set(ISSUE, Channel::Email, true);
    wishes.set(ISSUE, Channel::Sms, false);
    assert!(wishes.kinds.is_empty(), "defaults are not kept");
}

#[test]
fn quiet_hours_hold_back_what_disturbs_on_the_persons_own_clock() {
    let wishes = berlin(Digest::Off);
    let due = |now: &str, kind| {
        let planned = plan(at(now), kind, &wishes, &reach(), |_| true);
        let of = |channel| planned.iter().find(|one| one.channel == channel).copied();
        (of(Channel::InApp).unwrap(), of(Channel::Email).unwrap())
    };
    // 21:59:59 in Berlin is not quiet; 22:00 is, until 07:30 the next day.
    let (_, email) = due("2026-11-21T20:59:59Z", ISSUE);
    assert_eq!(
        (email.due, email.gathers),
        (at("2026-11-21T20:59:59Z"), false)
    );
    let (in_app, email) = due("2026-11-21T21:00:00Z", ISSUE);
    assert_eq!(
        (email.due, email.gathers),
        (at("2026-11-22T06:30:00Z"), true)
    );
    assert_eq!(in_app.due, at("2026-11-21T21:00:00Z"));
    let (_, email) = due("2026-11-22T06:29:00Z", ISSUE);
    assert_eq!(email.due, at("2026-11-22T06:30:00Z"));
    let (_, email) = due("2026-11-22T06:30:00Z", ISSUE);
    assert!(!email.gathers);
    // In summer the same hour of the day is another moment.
    let (_, email) = due("2026-07-01T21:00:00Z", ISSUE);
    assert_eq!(email.due, at("2026-07-02T05:30:00Z"));
    let (_, email) = due("2026-11-21T23:00:00Z", NotificationKind::SecurityAlert);
    assert_eq!(email.due, at("2026-11-21T23:00:00Z"), "ignores quiet hours");

    let quiet = |now: &str, kind, channel| quiet_until(at(now), kind, channel, &wishes);
    let (day, night) = ("2026-11-21T20:59:59Z", "2026-11-21T21:00:00Z");
    for channel in [Channel::Email, Channel::Push, Channel::Sms] {
        assert_eq!(quiet(day, ISSUE, channel), None);
        let until = quiet(night, ISSUE, channel);
        assert_eq!(until, Some(at("2026-11-22T06:30:00Z")));
        assert_eq!(quiet(night, NotificationKind::SecurityAlert, channel), None);
    }
    assert_eq!(quiet(night, ISSUE, Channel::Webhook), None);
    let always = Preferences::default();
    assert_eq!(quiet_until(at(night), ISSUE, Channel::Email, &always), None);
}

#[test]
fn what_is_due_in_quiet_hours_after_all_waits_for_their_end() {
    let wishes = berlin(Digest::Off);
    let until = |now: &str, kind, channel| quiet_until(at(now), kind, channel, &wishes);
    for channel in [Channel::Email, Channel::Push, Channel::Sms] {
        let end = at("2026-11-22T06:30:00Z");
        assert_eq!(until("2026-11-21T21:00:00Z", ISSUE, channel), Some(end));
        assert_eq!(until("2026-11-22T06:29:59Z", ISSUE, channel), Some(end));
        assert_eq!(until("2026-11-22T06:30:00Z", ISSUE, channel), None);
        assert_eq!(until("2026-11-21T20:59:59Z", ISSUE, channel), None);
        let kind = NotificationKind::SecurityAlert;
        assert_eq!(until("2026-11-21T23:00:00Z", kind, channel), None);
    }
    for channel in [Channel::InApp, Channel::Webhook] {
        assert_eq!(until("2026-11-21T23:00:00Z", ISSUE, channel), None);
    }
}

#[test]
fn digests_gather_to_the_end_of_the_hour_or_to_a_time_of_day() {
    let due = |wishes: &Preferences, now: &str| {
        let planned = plan(at(now), ISSUE, wishes, &reach(), |one| {
            one == Channel::Email
        });
        planned.first().copied().unwrap().due
    };
    let hourly = berlin(Digest::Hourly);
    assert_eq!(
        due(&hourly, "2026-11-21T10:10:00Z"),
        at("2026-11-21T11:00:00Z")
    );
    assert_eq!(
        due(&hourly, "2026-11-21T10:59:59.999Z"),
        at("2026-11-21T11:00:00Z")
    );
    // The end of the hour is quiet, so that it waits for the morning.
    assert_eq!(
        due(&hourly, "2026-11-21T20:30:00Z"),
        at("2026-11-22T06:30:00Z")
    );
    let daily = berlin(Digest::Daily("18:00".parse().unwrap()));
    assert_eq!(
        due(&daily, "2026-11-21T10:10:00Z"),
        at("2026-11-21T17:00:00Z")
    );
    assert_eq!(
        due(&daily, "2026-11-21T17:00:00Z"),
        at("2026-11-22T17:00:00Z")
    );
}

#[test]
fn an_issue_is_told_once_and_told_when_it_is_mended() {
    let now = at("2026-11-21T12:00:00Z");
    let mut issue = Issue::default();
    let good = seen("waiting", "valid", Some("success"));
    let broken = seen("waiting", "reauth_required", Some("authentication_error"));
    let tell = Telling::Tell(ISSUE, IssueKey::ReauthRequired);
    let mended = Telling::Mended(ISSUE, IssueKey::ReauthRequired);

    assert_eq!(issue.observe(now, &good), [], "the first success is silent");
    assert_eq!(issue.observe(now, &broken), [tell]);
    assert_eq!(issue.observe(now, &broken), []);
    let failing = seen("error", "reauth_required", Some("authentication_error"));
    assert_eq!(issue.observe(now, &failing), []);
    let other = seen("error", "valid", Some("institution_error"));
    let told = Telling::Tell(ISSUE, IssueKey::Failing);
    assert_eq!(
        issue.observe(now, &other),
        [told],
        "another thing is the matter"
    );
    assert_eq!(issue.observe(now, &good), [mended], "once for both");
    assert_eq!(issue.observe(now, &good), []);
    assert!(issue.is_blank());
    assert_eq!(
        issue.observe(now, &broken),
        [tell],
        "again after it was mended"
    );
    issue.observe(
        now,
        &Observation {
            state: "disabled",
            ..good
        },
    );
    assert_eq!(issue.observe(now, &good), [], "who switched it off knows");
}

#[test]
fn a_question_is_told_where_nobody_was_there_to_see_it() {
    let now = at("2026-11-21T12:00:00Z");
    let mut issue = Issue::default();
    let question = seen("question", "valid", None);
    issue.observe(now, &seen("manual", "valid", None));
    issue.observe(now, &seen("connecting", "valid", None));
    assert_eq!(issue.observe(now, &question), []);
    issue.observe(now, &seen("waiting", "valid", Some("success")));
    issue.observe(now, &seen("connecting", "valid", None));
    let told = Telling::Tell(ISSUE, IssueKey::Question);
    assert_eq!(issue.observe(now, &question), [told]);
    let needed = seen("waiting", "valid", Some("user_needed"));
    assert_eq!(issue.observe(now, &needed), []);
}

#[test]
fn a_maintenance_is_told_at_its_start_and_its_end_and_not_again_at_once() {
    let start = at("2026-11-21T12:00:00Z");
    let hours = |hours: u64| start.after(Duration::from_secs(hours * 3_600));
    let mut source = Maintenance::default();
    let good = seen("waiting", "valid", Some("success"));
    let shut = Observation {
        reason: Some("maintenance"),
        ..seen("waiting", "valid", Some("bank_maintenance"))
    };
    let throttled = Observation {
        reason: Some("rate_limit"),
        ..seen("waiting", "valid", Some("rate_limit_exceeded"))
    };
    let kind = NotificationKind::BankMaintenance;
    let told = Telling::Tell(kind, IssueKey::Maintenance);
    let over = Telling::Mended(kind, IssueKey::Maintenance);

    assert_eq!(source.observe(start, &shut), Some(told));
    assert_eq!(Issue::default().observe(start, &shut), []);
    assert_eq!(source.observe(hours(1), &shut), None);
    assert_eq!(source.observe(hours(1), &throttled), None);
    assert_eq!(source.observe(hours(2), &good), Some(over));
    assert_eq!(source.observe(hours(3), &shut), None, "it comes and goes");
    assert_eq!(source.observe(hours(4), &good), None);
    assert!(!source.is_blank(hours(7)) && source.is_blank(hours(8)));
    assert_eq!(source.observe(hours(9), &shut), Some(told));
}

#[test]
fn an_incident_is_told_once_whatever_a_connection_says_of_it() {
    let start = at("2026-11-21T12:00:00Z");
    let hours = |hours: u64| start.after(Duration::from_secs(hours * 3_600));
    let incident = |number| IncidentId::from_bytes([number; 16]);
    let good = seen("waiting", "valid", Some("success"));
    let shut = seen("waiting", "valid", Some("bank_maintenance"));
    let kind = NotificationKind::BankMaintenance;
    let told = Some(Telling::Tell(kind, IssueKey::Maintenance));
    let over = Some(Telling::Mended(kind, IssueKey::Maintenance));

    // Of a connection that was only held back.
    let mut source = Maintenance::default();
    assert_eq!(source.ended(start, incident(9)), None, "nobody was told");
    assert_eq!(source.begun(start, incident(1)), told);
    assert_eq!(source.begun(start, incident(1)), None);
    assert_eq!(source.observe(hours(1), &shut), None);
    assert_eq!(source.observe(hours(1), &good), None, "one got through");
    assert_eq!(source.ended(hours(2), incident(1)), over);
    assert_eq!(source.ended(hours(2), incident(1)), None);
    assert_eq!(source.begun(hours(3), incident(2)), None, "cooling down");
    assert_eq!(source.ended(hours(4), incident(2)), None);
    assert_eq!(source.begun(hours(9), incident(3)), told);
    assert_eq!(
        source.begun(hours(30), incident(4)),
        told,
        "3 was left behind"
    );

    // The connection's own word came first.
    let mut source = Maintenance::default();
    assert_eq!(source.observe(start, &shut), told);
    assert_eq!(source.begun(hours(1), incident(1)), None);
    assert_eq!(source.observe(hours(1), &good), None);
    assert_eq!(source.ended(hours(2), incident(1)), over);

    // The person came in the midst of it.
    let mut source = Maintenance::default();
    assert_eq!(source.observe(start, &shut), told);
    assert_eq!(source.ended(hours(2), incident(1)), over);

    // What was said a day before is another matter.
    let mut source = Maintenance::default();
    assert_eq!(source.observe(start, &shut), told);
    assert_eq!(source.begun(hours(24), incident(1)), told);
}

#[test]
fn retries_end_by_channel() {
    let tries = |channel| {
        (1..)
            .take_while(|tried| retry_after(channel, *tried).is_some())
            .count()
    };
    assert_eq!(Channel::ALL.map(tries), [7, 0, 4, 3, 7]);
    assert_eq!(retry_after(Channel::Email, 0), None);
    assert_eq!(retry_after(Channel::Sms, 1), Some(Duration::from_secs(30)));
}

#[test]
fn a_hundred_thousand_notifications_are_planned_with_preferences_and_digest() {
    let zones = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"];
    let people: Vec<Preferences> = zones
        .into_iter()
        .flat_map(|zone| {
            [
                Digest::Off,
                Digest::Hourly,
                Digest::Daily("18:00".parse().unwrap()),
            ]
            .map(|digest| Preferences {
                time_zone: zone.to_owned(),
                ..berlin(digest)
            })
        })
        .collect();
    let reach = reach();
    let start = at("2026-11-21T00:00:00Z");
    #[expect(clippy::disallowed_methods, reason = "measures, decides nothing")]
    let begun = std::time::Instant::now();
    let mut planned = 0;
    for number in 0..100_000_u64 {
        let wishes = &people[usize::try_from(number).unwrap() % people.len()];
        let now = start.after(Duration::from_secs(number * 7 % 86_400));
        let kind = NotificationKind::ALL[usize::try_from(number % 8).unwrap()];
        planned += plan(now, kind, wishes, &reach, |_| true).len();
    }
    let took = begun.elapsed();
    println!("100,000 notifications planned as {planned} messages in {took:?}");
    assert!(planned > 200_000, "{planned}");
}
