use std::sync::Arc;

use bytes::Bytes;
use wellspring_core::{ErrorClass, TenantId};
use wellspring_outbound::AddressPolicy;

use crate::support::{Stopped, World, build, callbacks, deliver, failed, order, secrets};

#[tokio::test]
async fn an_address_that_the_policy_refuses_is_not_called() {
    let world = World::start();
    let guarded = build(
        AddressPolicy::public_only(),
        secrets([1]),
        Arc::new(Stopped),
    );

    let result = guarded.deliver(world.order("/hook")).await;

    assert_eq!(
        result,
        failed(
            ErrorClass::InvalidRequest,
            "address_refused",
            "the callback URL must not point to a private or special-purpose address"
        )
    );
    assert_eq!(world.handle.counts().requests, 0);
}

#[tokio::test]
async fn a_url_that_is_none_is_refused() {
    assert_eq!(
        deliver(order("ftp://example.com/")).await,
        failed(
            ErrorClass::InvalidRequest,
            "invalid_url",
            "the callback URL must be an http or https URL"
        )
    );
}

#[tokio::test]
async fn without_a_secret_nothing_is_sent() {
    let world = World::start();
    let expected = failed(
        ErrorClass::InternalError,
        "no_secret",
        "the tenant has no callback secret",
    );
    let mut of_another = world.order("/hook");
    of_another.tenant = TenantId::from_bytes([8; 16]);

    assert_eq!(callbacks(secrets([1])).deliver(of_another).await, expected);
    assert_eq!(
        callbacks(secrets([])).deliver(world.order("/hook")).await,
        expected
    );
    assert_eq!(world.handle.counts().requests, 0);
}

#[tokio::test]
async fn without_the_data_nothing_is_sent() {
    let world = World::start();
    let mut order = world.order("/hook");
    order.payload = Bytes::new();

    assert_eq!(
        deliver(order).await,
        failed(
            ErrorClass::InternalError,
            "payload_missing",
            "the fetched data is no longer there"
        )
    );
    assert_eq!(world.handle.counts().requests, 0);
}
