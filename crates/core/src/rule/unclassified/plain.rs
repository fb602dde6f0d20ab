//! Words of errors, which name nobody however they are written.

/// Returns whether a word is one of those that errors are made of.
pub(super) fn is_plain(word: &str) -> bool {
    let word = word.to_lowercase();
    WORDS.split(' ').any(|plain| plain == word)
}

const WORDS: &str = "a abgelaufen abort aborted accept accepted access account accounts action active address \
    after again aggregator all allowed already amount an and anfrage anmeldung any api app \
    application are argument array as at attempt auth authentication authorization authorized \
    back bad balance bank banking be bearer been before benutzer bic bitte blocked body bucket \
    busy but by call calls can cancelled cannot card cert certificate challenge change changed \
    check client close closed code com conflict connect connection consent contact content \
    cookie could count country create credential credentials currency current customer das \
    data database date day days delete denied deny deprecated der detail details device did \
    die dienst disabled do document does down due duplicate ein eine einen email empty enabled \
    end endpoint entity error errors es exceed exceeded exception exist exists expected expire \
    expired external fail failed failure fatal fault fehler fetch field file first for \
    forbidden format found from gateway get gmt gone had has have header health host hour \
    hours however html http https iban id ids if ihr ihre illegal im in incorrect input \
    institution insufficient integer internal invalid ip is ist it item its json jwt kein \
    keine kennwort key konto kunde last length limit limited limits link load locked log \
    logged login long lookup maintenance malformed many match maximum memory merchant message \
    method minimum minute minutes mismatch missing mode month moved multiple must name network \
    new next nicht no none not null number numbers oauth object oder of offline ok on only \
    open operation option or org otp our out outage overloaded owner parameter parse part \
    password passwort patch path payload payment pending permission permitted phone pin plan \
    please policy post private processing product profile protocol provider proxy psd2 public \
    put query quota range rate read received record refresh refused register reject rejected \
    remote request requested requests required reset resource response rest result retry \
    revoked role rule sandbox sca scheduled schema scope secret secure security see server \
    service services session set sie sign signature sind soap source sql ssl start state \
    status stop storage string submit success support supported suspended sync syntax system \
    table tan temporarily temporary terminated than that the then there these this throttled \
    throttling time timed timeout tls to token tokens too transaction transactions transfer \
    transport try type unable unauthorized unavailable unbekannt und undefined under \
    unexpected ungültig unknown unprocessable unsupported until update upstream uri url usage \
    user username users utc valid validation value values verfügbar verification verify \
    version violation vorübergehend wait warning wartung was we web webhook were when where \
    while who why wird with without word wrong wurde xml year yes you your zugriff";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_in_any_writing() {
        assert!(is_plain("API") && is_plain("Not") && is_plain("request"));
        assert!(!is_plain("Sam") && !is_plain("Denied Sam"));
    }
}
