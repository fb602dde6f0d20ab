use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use wellspring_outbound::{AddressPolicy, Client, ClientOptions, Request, SendError, TimeoutPhase};

use crate::server::{After, Server, echo_heads, get};

#[tokio::test]
async fn encrypted_exchange_needs_a_trusted_certificate_for_the_name() {
    let (acceptor, certificate) = acceptor_for("localhost");
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                echo_heads(stream).await;
            }
        }
    })
    .await;
    let by_name = format!("https://localhost:{}/", server.address.port());
    let by_address = format!("https://{}/", server.address);
    let trusting = client_trusting(Some(certificate));

    for _ in 0..3 {
        assert_eq!(trusting.send(get(&by_name)).await.unwrap().status, 200);
    }
    assert_eq!(server.accepted(), 1);

    let wrong_name = trusting.send(get(&by_address)).await.unwrap_err();
    let unknown_issuer = client_trusting(None).send(get(&by_name)).await.unwrap_err();
    for error in [wrong_name, unknown_issuer] {
        assert_eq!(error.code(), "tls_failure", "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn plain_port_maps_to_tls_failure() {
    let server = Server::start(|mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        stream.read_u8().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        std::future::pending().await
    })
    .await;

    let url = format!("https://{}/", server.address);
    let error = client_trusting(None).send(get(&url)).await.unwrap_err();

    assert_eq!(error.code(), "tls_failure", "{error:?}");
}

#[tokio::test]
async fn deadline_and_connect_limit_cover_the_handshake() {
    let server = Server::answering("", After::Hold).await;
    let url = format!("https://{}/", server.address);
    let connecting = SendError::Timeout {
        phase: TimeoutPhase::Connect,
    };

    let deadline = Duration::from_millis(100);
    let request = Request {
        deadline,
        ..get(&url)
    };
    let late = client_trusting(None).send(request).await;
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(100),
        ..options_trusting(None)
    };
    let client = Client::new(AddressPolicy::unrestricted(), options).unwrap();
    let limited = client.send(get(&url)).await;

    assert_eq!(late.unwrap_err(), connecting);
    assert_eq!(limited.unwrap_err(), connecting);
}

#[tokio::test]
async fn refused_address_is_no_tls_failure() {
    let options = options_trusting(None);
    let client = Client::new(AddressPolicy::public_only(), options).unwrap();

    let error = client.send(get("https://localhost:9/")).await.unwrap_err();

    assert_eq!(error.code(), "address_refused");
}

fn acceptor_for(name: &str) -> (TlsAcceptor, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate)
}

fn client_trusting(certificate: Option<CertificateDer<'static>>) -> Client {
    Client::new(AddressPolicy::unrestricted(), options_trusting(certificate)).unwrap()
}

fn options_trusting(certificate: Option<CertificateDer<'static>>) -> ClientOptions {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificate);
    ClientOptions {
        roots: Some(Arc::new(roots)),
        ..ClientOptions::default()
    }
}
