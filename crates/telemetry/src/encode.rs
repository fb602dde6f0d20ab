//! Spans in the form of OTLP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind as Kind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Otlp, Status};
use prost::Message;
use wellspring_engine::{Fact, Span, SpanKind};

/// Returns the body of an export.
pub(crate) fn body(service: &str, version: &str, spans: &[Span]) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            text("service.name", service.to_owned()),
            text("service.version", version.to_owned()),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "wellspring".to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

fn span(span: &Span) -> Otlp {
    let kind = match span.kind {
        SpanKind::Internal => Kind::Internal,
        SpanKind::Server => Kind::Server,
        SpanKind::Client => Kind::Client,
    };
    let mut attributes: Vec<KeyValue> = span.facts.iter().map(fact).collect();
    if let Some(error) = &span.error {
        attributes.push(text("error.type", error.clone()));
    }
    Otlp {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map(|parent| parent.to_be_bytes().to_vec())
            .unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.begin,
        end_time_unix_nano: span.end.max(span.begin),
        attributes,
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.trace.to_vec(),
                span_id: link.span.to_be_bytes().to_vec(),
                flags: link.flags.into(),
                ..Link::default()
            })
            .collect(),
        status: span.error.as_ref().map(|_| Status {
            message: String::new(),
            code: StatusCode::Error.into(),
        }),
        ..Otlp::default()
    }
}

fn fact((name, fact): &(&'static str, Fact)) -> KeyValue {
    let value = match fact {
        Fact::Text(text) => Value::StringValue(text.clone()),
        Fact::Number(number) => Value::IntValue(*number),
        Fact::Flag(flag) => Value::BoolValue(*flag),
    };
    pair(name, value)
}

fn text(name: &'static str, value: String) -> KeyValue {
    pair(name, Value::StringValue(value))
}

fn pair(name: &'static str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// The flag of W3C Trace Context that says that a trace is made.
const SAMPLED: u32 = 1;
