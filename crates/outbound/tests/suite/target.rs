use proptest::prelude::*;
use wellspring_outbound::{AddressPolicy, Target, TargetError};

#[test]
fn every_spelling_of_a_refused_address_is_refused() {
    let policy = AddressPolicy::public_only();
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7F.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "0177.0x0.0.1",
        "0",
        "0.0.0.0",
        "0x0",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "１２７.０.０.１",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "10.0.0.1",
        "10.1",
        "0xa000001",
        "012.0.0.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "172.16.0.1",
        "192.168.1.1",
        "3232235777",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "4294967295",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[fc00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "a.b.LocalHost.",
        "ｌocalhost",
        "%6cocalhost",
    ];

    for host in hosts {
        for url in [
            format!("http://{host}/"),
            format!("https://{host}:8443/x?y=z"),
            format!("HTTP://{host}"),
        ] {
            let outcome = Target::parse(&url, &policy);
            assert!(
                matches!(outcome, Err(TargetError::RefusedAddress { .. })),
                "{url} gave {outcome:?}"
            );
        }
    }
}

#[test]
fn malformed_urls_name_their_fault() {
    use TargetError::{
        ControlCharacter, Credentials, Fragment, Host, Malformed, NotAbsolute, Port, Scheme,
    };
    let cases = [
        ("", NotAbsolute),
        ("example.com", NotAbsolute),
        ("/hook", NotAbsolute),
        ("//example.com/hook", NotAbsolute),
        ("http:example.com", NotAbsolute),
        ("http:/example.com", NotAbsolute),
        ("ftp://example.com/", Scheme),
        ("file:///etc/passwd", Scheme),
        ("javascript:alert(1)", Scheme),
        ("localhost:80/x", Scheme),
        ("ws://example.com/", Scheme),
        ("http://user@example.com/", Credentials),
        ("http://user:pass@example.com/", Credentials),
        ("http://:pass@example.com/", Credentials),
        ("http://@example.com/", Credentials),
        ("http://example.com@127.0.0.1/", Credentials),
        (" http://example.com/", ControlCharacter),
        ("http://example.com/ ", ControlCharacter),
        ("http://exa\tmple.com/", ControlCharacter),
        ("http://example.com/\r\nx: y", ControlCharacter),
        ("http://example.com/\0", ControlCharacter),
        ("http://example.com/\u{7f}", ControlCharacter),
        ("http://example.com/\u{85}", ControlCharacter),
        ("http://example.com/\u{2028}", ControlCharacter),
        ("http:\\\\example.com\\", ControlCharacter),
        ("http://example.com\\@127.0.0.1/", ControlCharacter),
        ("http://example.com/#part", Fragment),
        ("http://example.com/#", Fragment),
        ("http://", Host),
        ("http:///hook", Host),
        ("http:////example.com", Host),
        ("http://?x", Host),
        ("http://exa%mple.com/", Host),
        ("http://a%00b/", Host),
        ("http://a%2fb/", Host),
        ("http://exa$mple.com/", Host),
        ("http://example..com/", Host),
        ("http://127.0.0.1../", Host),
        ("http://.example.com/", Host),
        ("http://256.0.0.1/", Host),
        ("http://1.2.3.4.5/", Host),
        ("http://4294967296/", Host),
        ("http://[::1/", Host),
        ("http://[fe80::1%25eth0]/", Host),
        ("http://[::gg]/", Host),
        ("http://xn--a/", Host),
        ("http://example.com:0/", Port),
        ("http://example.com:65536/", Port),
        ("http://example.com:x/", Port),
    ];

    for (url, fault) in cases {
        let outcome = Target::parse(url, &AddressPolicy::public_only());
        assert_eq!(outcome, Err(fault), "{url:?}");
    }

    let long_label = format!("http://{}.com/", "a".repeat(64));
    let long_path = format!("http://example.com/{}", "a".repeat(8192));
    let policy = AddressPolicy::unrestricted();
    assert_eq!(Target::parse(&long_label, &policy), Err(Host));
    assert_eq!(
        Target::parse(&long_path, &policy),
        Err(TargetError::TooLong)
    );
    assert_eq!(Malformed.to_string(), "must be a valid URL");
}

#[test]
fn accepted_urls_are_normalised() {
    let cases = [
        ("http://example.com", "http://example.com/", 80),
        (
            "HTTPS://Example.COM:443/a/../b?c=d",
            "https://example.com/b?c=d",
            443,
        ),
        (
            "http://example.com:8080/%7Ea",
            "http://example.com:8080/%7Ea",
            8080,
        ),
        ("http://example.com./", "http://example.com./", 80),
        (
            "http://under_score.example.com/",
            "http://under_score.example.com/",
            80,
        ),
        (
            "https://bücher.example/ü",
            "https://xn--bcher-kva.example/%C3%BC",
            443,
        ),
        ("http://134744072/", "http://8.8.8.8/", 80),
        ("http://0x8.8.010.8/", "http://8.8.8.8/", 80),
        (
            "http://[2606:4700:0::1111]/",
            "http://[2606:4700::1111]/",
            80,
        ),
        ("http://notlocalhost/", "http://notlocalhost/", 80),
        (
            "http://localhost.example.com/",
            "http://localhost.example.com/",
            80,
        ),
        (
            "http://example.com/a\"b<c>{d}|e^`?q=\"'{}|^`@:",
            "http://example.com/a%22b%3Cc%3E%7Bd%7D|e^%60?q=%22%27{}|^`@:",
            80,
        ),
    ];

    for (text, uri, port) in cases {
        let target = Target::parse(text, &AddressPolicy::public_only())
            .unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(target.uri().to_string(), uri);
        assert_eq!(target.port(), port);
        assert_eq!(target.is_https(), uri.starts_with("https"));
        assert_eq!(
            target.literal().is_some(),
            uri.contains("8.8.8.8") || uri.contains('[')
        );
    }
}

#[test]
fn allow_list_admits_literals_and_localhost() {
    let policy = AddressPolicy::public_and(vec!["127.0.0.0/8".parse().unwrap()]);

    for url in [
        "http://127.0.0.1:9/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
    ] {
        assert!(Target::parse(url, &policy).is_ok(), "{url}");
    }
    for url in ["http://10.0.0.1/", "http://[::1]/", "http://[::127.0.0.1]/"] {
        assert!(Target::parse(url, &policy).is_err(), "{url}");
    }
}

#[test]
fn debug_hides_path_and_query() {
    let target = Target::parse(
        "https://example.com/secret?key=1",
        &AddressPolicy::public_only(),
    );

    assert_eq!(
        format!("{:?}", target.unwrap()),
        "Target(https://example.com)"
    );
}

proptest! {
    #[test]
    fn no_text_reaches_a_refused_literal(host in "[0-9a-fxA-F.:%\\[\\]１２７]{1,24}", rest in "\\PC{0,8}") {
        let policy = AddressPolicy::public_only();
        if let Ok(target) = Target::parse(&format!("http://{host}/{rest}"), &policy) {
            let bare = target.host().trim_matches(['[', ']']);
            let address = bare.parse();
            prop_assert_eq!(address.clone().ok(), target.literal());
            prop_assert!(address.is_err() || policy.allows(address.unwrap()));
        }
    }
}
