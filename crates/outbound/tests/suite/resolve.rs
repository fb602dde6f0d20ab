use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Builder;
use wellspring_outbound::{
    AddressPolicy, Request, Resolution, SendError, Target, TargetError, TimeoutPhase,
    check_resolves,
};

use crate::server::{client_with, get};

const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn names_are_judged_by_what_they_resolve_to() {
    let loopback = AddressPolicy::public_and(vec![
        "127.0.0.0/8".parse().unwrap(),
        "::1/128".parse().unwrap(),
    ]);
    let public = AddressPolicy::public_only();

    assert_eq!(
        check("http://localhost/", &loopback).await,
        Ok(Resolution::Allowed)
    );
    assert_eq!(
        check("http://127.0.0.1/", &loopback).await,
        Ok(Resolution::Literal)
    );
    assert!(matches!(
        check("http://localhost/", &public).await,
        Err(TargetError::RefusedAddress { ip }) if ip.is_loopback()
    ));
    assert!(matches!(
        check("http://127.0.0.1/", &public).await,
        Err(TargetError::RefusedAddress { ip }) if ip.is_loopback()
    ));
}

#[test]
fn name_that_cannot_be_resolved_in_time_is_accepted_and_met_again() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, released) = mpsc::channel::<()>();
    // The only thread that could resolve names is kept busy.
    let busy = runtime.spawn_blocking(move || released.recv());
    let short = Duration::from_millis(50);
    let request = Request {
        deadline: short,
        ..get("http://localhost:9/")
    };

    let (early, sent) = runtime.block_on(async {
        let policy = AddressPolicy::public_only();
        let early = check_resolves(&request.target, &policy, short).await;
        (early, client_with(policy).send(request).await)
    });

    assert_eq!(early, Ok(Resolution::Unresolved));
    let phase = TimeoutPhase::Connect;
    assert_eq!(sent.unwrap_err(), SendError::Timeout { phase });
    drop(release);
    assert!(runtime.block_on(busy).unwrap().is_err());
}

async fn check(url: &str, policy: &AddressPolicy) -> Result<Resolution, TargetError> {
    let target = Target::parse(url, &AddressPolicy::unrestricted()).unwrap();
    check_resolves(&target, policy, WITHIN).await
}
