use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Duration, advance};

use super::{
    assert_refused, challenge, documents, log_in, logged_in, read, reason, respond, session_of,
    texts,
};
use crate::client::sandbox;

#[tokio::test]
async fn questions_and_notices_are_posed_at_every_login_and_any_answer_proceeds() {
    let (client, control, running) = sandbox(1);

    for _ in 0..2 {
        for (password, code, answers) in [
            ("statefail", "region", json!({"region": "MA"})),
            ("branchfail", "branch_code", json!({"branch_code": 1234})),
            ("pinfail", "pin", json!({"pin": "x"})),
            ("lockedoutfail", "locked_out", json!({})),
            ("useractionrequiredfail", "user_action_required", json!({})),
            ("setupaccountfail", "set_up_account", json!({})),
            ("notsupportedfail", "not_supported", json!({})),
            ("notpaperlessfail", "not_paperless", json!({})),
        ] {
            let posed = log_in(&client, password).await;
            let session = session_of(&posed);
            let question = challenge(&posed);
            assert_eq!(question["code"], code);
            assert_eq!(question["expires_in"], Value::Null);
            assert!(!question["title"].as_str().unwrap().is_empty());
            assert_eq!(reason(&posed), None);
            let early = read(&client, &session, "/bank/documents").await;
            assert_refused(&early, 409, "CHALLENGE_PENDING");

            if answers != json!({}) {
                for empty in [json!({}), json!({ code: "  " }), json!({ code: null })] {
                    let again = respond(&client, &session, empty).await;
                    assert_eq!(challenge(&again)["code"], code);
                    assert!(reason(&again).is_some());
                }
            }
            logged_in(&respond(&client, &session, answers.clone()).await);
            logged_in(&respond(&client, &session, answers).await);
            assert_eq!(documents(&client, &session).await.len(), 3);
        }
    }
    assert_eq!(control.bank_counts().challenges, 2 * (8 + 3 * 3));
    assert_eq!(control.bank_counts().answers, 2 * (2 * 8 + 3 * 3));
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_asked_again_with_the_reason_and_the_third_ends_the_login() {
    let (client, _, running) = sandbox(1);
    let wrong = || json!({"secret": "Jones"});

    for _ in 0..2 {
        let session = session_of(&log_in(&client, "mfaquestion").await);
        for _ in 0..2 {
            let again = respond(&client, &session, wrong()).await;
            assert_eq!(challenge(&again)["code"], "secret_question");
            assert_eq!(reason(&again).unwrap(), "That was not the right name.");
        }
        assert_refused(
            &respond(&client, &session, wrong()).await,
            403,
            "ACCOUNT_LOCKED",
        );
        let late = respond(&client, &session, json!({"secret": "Smith"})).await;
        assert_refused(&late, 401, "SESSION_EXPIRED");

        let session = session_of(&log_in(&client, "mfaquestion").await);
        respond(&client, &session, wrong()).await;
        logged_in(&respond(&client, &session, json!({"secret": " Smith "})).await);
        assert_eq!(documents(&client, &session).await.len(), 3);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_one_time_code_is_sent_as_chosen_holds_for_its_time_and_three_tries() {
    let (client, _, running) = sandbox(1);

    let posed = log_in(&client, "onetimeauth").await;
    let session = session_of(&posed);
    let delivery = challenge(&posed);
    assert_eq!(delivery["code"], "code_delivery");
    assert_eq!(
        texts(&delivery["parts"][0]["choices"], "id"),
        ["sms", "call", "email"]
    );
    let again = respond(&client, &session, json!({"delivery": "pigeon"})).await;
    assert_eq!(challenge(&again)["code"], "code_delivery");
    let asked = respond(&client, &session, json!({"delivery": "sms"})).await;
    assert_eq!(challenge(&asked)["code"], "one_time_code");
    assert_eq!(challenge(&asked)["expires_in"], "10m");
    assert_eq!(
        challenge(&asked)["parts"][1],
        json!({
            "kind": "text_input", "id": "code", "label": "Code", "sensitive": true,
            "pattern": "[0-9]{6}", "max_length": 6,
        })
    );

    let right = || json!({"code": "123456"});
    let wrong = respond(&client, &session, json!({"code": "000000"})).await;
    assert_eq!(reason(&wrong).unwrap(), "That was not the code.");
    advance(Duration::from_secs(600)).await;
    let late = respond(&client, &session, right()).await;
    assert_eq!(challenge(&late)["code"], "one_time_code");
    assert!(reason(&late).unwrap().contains("expired"));
    advance(Duration::from_secs(599)).await;
    logged_in(&respond(&client, &session, right()).await);
    assert_eq!(documents(&client, &session).await.len(), 3);

    client
        .put("/control/sandbox-bank", r#"{"code_expires_in_s": 5}"#)
        .await;
    let session = session_of(&log_in(&client, "onetimeauth").await);
    let asked = respond(&client, &session, json!({"delivery": "call"})).await;
    assert_eq!(challenge(&asked)["expires_in"], "5s");
    advance(Duration::from_secs(5)).await;
    assert!(reason(&respond(&client, &session, right()).await).is_some());
    for _ in 0..2 {
        challenge(&respond(&client, &session, json!({"code": "1"})).await);
    }
    let locked = respond(&client, &session, json!({"code": "1"})).await;
    assert_refused(&locked, 403, "ACCOUNT_LOCKED");
    running.stop().await;
}

#[tokio::test]
async fn several_questions_are_answered_together() {
    let (client, _, running) = sandbox(1);

    for _ in 0..2 {
        let posed = log_in(&client, "onetimeauthmultiple").await;
        let session = session_of(&posed);
        let parts = challenge(&posed)["parts"].clone();
        assert_eq!(texts(&parts, "kind"), ["choices"; 3]);
        let mut answers = json!({});
        for part in parts.as_array().unwrap() {
            let missing = respond(&client, &session, answers.clone()).await;
            assert!(reason(&missing).is_some());
            answers[part["id"].as_str().unwrap()] = part["choices"][1]["id"].clone();
        }
        let mut foreign = answers.clone();
        foreign["car"] = json!("bicycle");
        assert!(reason(&respond(&client, &session, foreign).await).is_some());
        logged_in(&respond(&client, &session, answers).await);
    }
    running.stop().await;
}

#[tokio::test]
async fn the_captcha_is_a_png_and_the_control_tells_what_is_on_it() {
    let (client, _, running) = sandbox(1);

    let mut pictures = Vec::new();
    for change in ["{}", r#"{"captcha": "QK72"}"#] {
        client.put("/control/sandbox-bank", change).await;
        let posed = log_in(&client, "captcha").await;
        let session = session_of(&posed);
        let parts = challenge(&posed)["parts"].clone();
        assert_eq!(parts[0]["kind"], "image");
        assert_eq!(parts[0]["media_type"], "image/png");
        let png = STANDARD.decode(parts[0]["data"].as_str().unwrap()).unwrap();
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"));
        assert!(png.ends_with(b"IEND\xae\x42\x60\x82"));
        pictures.push(png);

        let wrong = respond(&client, &session, json!({"letters": "WRONG"})).await;
        assert_eq!(challenge(&wrong)["code"], "captcha");
        let shown = client.get("/control").await.json();
        let letters = &shown["sources"]["sandbox-bank"]["settings"]["captcha"];
        let letters = letters.as_str().unwrap().to_lowercase();
        logged_in(&respond(&client, &session, json!({ "letters": letters })).await);
    }
    assert_ne!(pictures[0], pictures[1]);
    running.stop().await;
}

#[tokio::test]
async fn every_kind_of_part_goes_over_the_wire_as_wellspring_poses_it() {
    let (client, _, running) = sandbox(1);

    let posed = log_in(&client, "everypart").await;
    let session = session_of(&posed);
    let mut parts = challenge(&posed)["parts"].clone();
    assert!(parts[1]["data"].take().is_string());
    assert!(parts[2]["url"].take().as_str().unwrap().ends_with("/bank"));
    assert_eq!(
        parts,
        json!([
            {"kind": "static_text", "id": "intro", "text": "One of each kind."},
            {"kind": "image", "id": "picture", "label": "Letters and digits, drawn crookedly",
             "media_type": "image/png", "data": null},
            {"kind": "link", "id": "bank", "text": "Open the bank", "url": null},
            {"kind": "text_input", "id": "name", "label": "Your first pet's name",
             "sensitive": true, "max_length": 40},
            {"kind": "choices", "id": "colour", "label": "Your favourite colour",
             "choices": [{"id": "green", "label": "Green"}, {"id": "blue", "label": "Blue"},
                         {"id": "other", "label": "Another one"}],
             "widget": "combo_box"},
            {"kind": "date", "id": "birthday", "label": "Your day of birth"},
            {"kind": "number", "id": "postcode", "label": "Your postcode", "min": 0, "max": 99999},
            {"kind": "button", "id": "later", "label": "Answer later", "action": "defer"},
        ])
    );
    let answers = json!({
        "name": "Rex", "colour": "blue", "birthday": "1990-02-03", "postcode": 1234,
    });
    logged_in(&respond(&client, &session, answers).await);
    running.stop().await;
}

#[tokio::test]
async fn every_other_session_is_lost_before_its_answer() {
    let (client, _, running) = sandbox(1);
    let pin = || json!({"pin": "1234"});

    for _ in 0..2 {
        let lost = session_of(&log_in(&client, "expired-session").await);
        assert_refused(
            &respond(&client, &lost, pin()).await,
            401,
            "SESSION_EXPIRED",
        );
        let kept = session_of(&log_in(&client, "expired-session").await);
        logged_in(&respond(&client, &kept, pin()).await);
        assert_eq!(documents(&client, &kept).await.len(), 3);
    }
    for session in ["", "nonsense", &"f".repeat(32)] {
        assert_refused(
            &respond(&client, session, pin()).await,
            401,
            "SESSION_EXPIRED",
        );
    }
    let unreadable = super::post(&client, "/bank/challenge", &json!({"answers": {}})).await;
    assert_refused(&unreadable, 400, "UNREADABLE");
    running.stop().await;
}
