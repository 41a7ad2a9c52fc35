//! Scripts that make no sense, worlds that do, and the worst case against many of them.

use std::fmt::Write as _;

use proptest::prelude::*;
use tidegate_config::Config;

use super::report::{GroupReport, Report};
use super::{script, simulate};

/// Two origins at main, one at each other site.
fn config(check: &str, group: &str) -> Config {
    let text = format!(
        "state_dir = \"/tmp/none\"\n[site.main]\nfront_door = [\"192.0.2.1\"]\n[site.dr]\nfront_door = [\"192.0.2.2\"]\n\
         [site.third]\nfront_door = [\"192.0.2.3\"]\n\
         [group.app]\nsites = [\"main\", \"dr\", \"third\"]\n{group}\n\
         [service.web]\ngroup = \"app\"\nprotocol = \"http\"\nhosts = [\"app.example.com\"]\ncritical = true\n\
         check = {{ path = \"/health\", {check} }}\n\
         origins.main = [{{ url = \"http://10.0.0.1:80\", host = \"canterbury\" }}, {{ url = \"http://10.0.0.2:80\" }}]\n\
         origins.dr = [{{ url = \"http://10.0.1.1:80\" }}]\norigins.third = [{{ url = \"http://10.0.2.1:80\" }}]\n\
         [zone.\"example.com\"]\nfile = \"none.zone\"\nsteer.app = {{ group = \"app\", ttl = \"30s\" }}\n"
    );
    match tidegate_config::parse("test", &text) {
        Ok(parsed) => parsed.config,
        Err(errors) => panic!("{errors}"),
    }
}

const CHECK: &str = "interval = \"1s\", fast_interval = \"250ms\", timeout = \"500ms\", fall = 3, rise = 2";
const STATELESS: &str = "stateless = true\nfailover_after = \"10s\"";

fn play(config: &Config, text: &str) -> Report {
    simulate(config, text, 1).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn app(report: &Report) -> &GroupReport {
    &report.groups[0]
}

fn kinds(report: &Report) -> Vec<&str> {
    report.timeline.iter().map(|moment| moment.what.as_str()).collect()
}

fn told(report: &Report) -> String {
    super::report::render(report)
}

#[test]
fn a_lost_site_is_left_in_time_and_the_terms_add_up() {
    let config = config(CHECK, STATELESS);
    let report = play(&config, "at 30s site main lost\nuntil 2m\n");
    let app = app(&report);
    assert_eq!((app.from.as_deref(), app.active.as_deref(), app.epoch), (Some("main"), Some("dr"), 2));
    let [outage] = &app.outages[..] else { panic!("{}", told(&report)) };
    assert_eq!((outage.began_ms, outage.moved_to.as_deref()), (30_000, Some("dr")));
    assert_eq!(outage.within_worst, Some(true), "{}", told(&report));
    let gap = outage.gap_ms.expect("it moved");
    assert!((11_000..14_000).contains(&gap), "ten seconds and what the checks take: {gap}");
    assert_eq!(app.unserved_ms, gap);
    // 1.1 s to the next check, 0.5 s timeout, 2 x 0.5 s to fall, 10 s, 1 s confirmation, 50 ms, 2 s disk.
    let terms: Vec<_> = app.worst.terms.iter().map(|term| (term.name, term.ms)).collect();
    let expected = [
        ("next check", 1_100),
        ("timeout", 500),
        ("fall", 1_000),
        ("wait", 10_000),
        ("confirmation", 1_000),
        ("loop", 50),
        ("store", 2_000),
    ];
    assert_eq!(terms, expected);
    assert_eq!((app.worst.total_ms, app.worst.dns_tail_ms), (Some(15_650), 30_000));
    let kinds = kinds(&report);
    let order = ["script", "origin", "fitness", "unfit", "failover"];
    let mut rest = kinds.iter();
    assert!(order.iter().all(|wanted| rest.any(|kind| kind == wanted)), "{kinds:?}");
}

#[test]
fn a_short_break_moves_nothing_and_a_flapping_origin_neither() {
    let config = config(CHECK, STATELESS);
    let report = play(&config, "at 30s site main silent\nat 36s site main up\nuntil 3m\n");
    assert_eq!((app(&report).epoch, app(&report).outages.len()), (1, 1), "{}", told(&report));
    assert_eq!(app(&report).unserved_ms, 6_000);
    assert!(app(&report).outages[0].gap_ms.is_none());
    let report = play(&config, "at 10s origin web/main/10.0.0.1:80 flapping 2s\nuntil 3m\n");
    assert_eq!((app(&report).epoch, app(&report).unserved_ms), (1, 0), "{}", told(&report));
    // Slow is up below the timeout, and down from it on.
    for (latency, epoch) in [("499ms", 1), ("500ms", 2)] {
        let report = play(&config, &format!("at 10s site main slow {latency}\nuntil 2m\n"));
        assert_eq!(app(&report).epoch, epoch, "{latency}: {}", told(&report));
    }
}

#[test]
fn what_bars_a_move_is_told_and_people_can_move_it() {
    let config = config(CHECK, STATELESS);
    let report = play(&config, "at 20s freeze app\nat 30s site main lost\nuntil 2m\n");
    let [outage] = &app(&report).outages[..] else { panic!("{}", told(&report)) };
    assert!(
        outage.gap_ms.is_none() && outage.stopped_by[0].starts_with("frozen:"),
        "{:?}",
        outage.stopped_by
    );
    assert_eq!(app(&report).unserved_ms, 90_000);
    let ordered = "at 20s freeze app\nat 30s site main lost\nat 1m switch app third\nat 90s site main up\nat 95s failback app\nuntil 2m\n";
    let report = play(&config, ordered);
    assert_eq!((app(&report).active.as_deref(), app(&report).epoch), (Some("main"), 3), "{}", told(&report));
    assert_eq!(app(&report).outages[0].gap_ms, Some(30_005), "the order and the disk");
    let refused = play(
        &config,
        "at 30s site dr lost\nat 1m switch app dr\nat 61s switch app dr override unfit\nuntil 2m\n",
    );
    assert!(told(&refused).contains("--override unfit"), "{}", told(&refused));
    assert_eq!(app(&refused).active.as_deref(), Some("dr"));
}

#[test]
fn a_disk_that_stalls_stops_the_switch_until_it_works() {
    let config = config(CHECK, STATELESS);
    let report = play(&config, "at 20s store stalls\nat 30s site main lost\nat 1m store works\nuntil 2m\n");
    let app = app(&report);
    assert_eq!(app.active.as_deref(), Some("dr"), "{}", told(&report));
    assert!(kinds(&report).contains(&"not-stored"));
    let gap = app.outages[0].gap_ms.expect("it moved");
    assert!((30_000..34_000).contains(&gap), "once the disk works: {gap}");
    assert_eq!(app.outages[0].within_worst, Some(false), "it says that something stood in the way");
}

#[test]
fn groups_that_never_move_by_themselves_have_no_worst_case() {
    for (group, why) in
        [("failover_after = \"10s\"", "no-fence"), ("stateless = true\nmode = \"confirm\"", "confirm")]
    {
        let config = config(CHECK, group);
        let report = play(&config, "at 30s site main lost\nuntil 2m\n");
        let app = app(&report);
        assert_eq!((app.epoch, app.worst.total_ms), (1, None), "{}", told(&report));
        assert!(app.worst.why_not.is_some_and(|told| told.contains(why)), "{:?}", app.worst.why_not);
    }
}

#[test]
fn a_machine_can_be_drained_and_lost_without_a_move() {
    let config = config(CHECK, STATELESS);
    let text = "at 10s drain host canterbury for 1h\nat 20s host canterbury down\nat 1m undrain host canterbury\nuntil 2m\n";
    let report = play(&config, text);
    assert_eq!((app(&report).epoch, app(&report).unserved_ms), (1, 0), "{}", told(&report));
    assert!(kinds(&report).contains(&"forced") && kinds(&report).contains(&"unforced"));
}

#[test]
fn an_origin_that_is_given_by_name_has_an_address_that_stands_in() {
    let text = r#"
state_dir = "/tmp/none"
[site.main]
front_door = ["192.0.2.1"]
[site.dr]
front_door = ["192.0.2.2"]
[group.app]
sites = ["main", "dr"]
stateless = true
failover_after = "5s"
[service.web]
group = "app"
protocol = "http"
hosts = ["app.example.com"]
origins.main = [{ url = "http://web.main.internal:8080" }]
origins.dr = [{ url = "http://web.dr.internal:8080" }]
"#;
    let config = tidegate_config::parse("test", text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let report = play(&config, "at 30s origin web/main/198.18.0.* silent\nuntil 2m\n");
    assert_eq!(app(&report).active.as_deref(), Some("dr"), "{}", told(&report));
    assert_eq!(app(&report).outages[0].within_worst, Some(true), "{}", told(&report));
}

#[test]
fn the_same_seed_gives_the_same_day_and_another_one_another() {
    let config = config(CHECK, STATELESS);
    let text = "at 30s site main lost\nat 1m site main up\nat 2m failback app\nuntil 3m\n";
    let json = |seed| serde_json::to_string(&simulate(&config, text, seed).expect("sound")).expect("plain");
    assert_eq!(json(7), json(7));
    assert_ne!(json(7), json(8));
}

#[test]
fn every_error_of_a_script_is_shown_with_its_place() {
    let config = config(CHECK, STATELESS);
    let text = "# a comment\nat 30s site man lost\nat 1x site main lost\nat 40s party\nwhen 1m site main up\n\
                at 50s origin web/dr/* sleepy\nat 1m switch app\nat 1m ack app because\nat 25h site main up\nuntil 10m\nuntil 11m\n";
    let errors = script::parse(&config.fleet, text).expect_err("nothing of it makes sense");
    let told = errors.iter().fold(String::new(), |mut told, error| {
        let _ =
            writeln!(told, "{}:{} {} {:?}", error.line, error.column, error.message, error.help.as_deref());
        told
    });
    insta::assert_snapshot!(told);
    for (text, message) in [
        ("at 1m site main up\n", "no end"),
        ("at 11m site main up\nuntil 10m\n", "after the end"),
        ("", "no end"),
        ("until\n", "is missing"),
    ] {
        let errors = script::parse(&config.fleet, text).expect_err(text);
        assert!(errors.len() == 1 && errors[0].message.contains(message), "{text}: {errors:?}");
    }
}

/// Seeds of the property below; each is a whole simulation.
const CASES: u32 = 150;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    /// What the arithmetic says is a bound of what the core does, whatever the checks are like and whenever the loss comes.
    #[test]
    fn no_gap_is_longer_than_the_worst_case(
        seed in any::<u64>(),
        interval in 200..3_000_u64,
        fast in 50..1_000_u64,
        timeout in 20..2_000_u64,
        fall in 1..6_u32,
        after in 0..15_u64,
        at in 20_000..30_000_u64,
        how in prop::sample::select(vec!["lost", "down", "silent", "slow 1m"]),
    ) {
        let fast = fast.min(interval);
        let timeout = timeout.min(interval);
        let check = format!(
            "interval = \"{interval}ms\", fast_interval = \"{fast}ms\", timeout = \"{timeout}ms\", fall = {fall}, rise = 2"
        );
        let config = config(&check, &format!("stateless = true\nfailover_after = \"{after}s\""));
        let text = format!("at {at}ms site main {how}\nuntil 2m\n");
        let report = simulate(&config, &text, seed).expect("a sound script");
        let outage = &report.groups[0].outages[0];
        prop_assert_eq!(outage.began_ms, at);
        prop_assert_eq!(outage.moved_to.as_deref(), Some("dr"), "{}", told(&report));
        prop_assert_eq!(outage.within_worst, Some(true), "{}", told(&report));
        // A bound that is far off tells nobody anything: what is left is chance, the disk's two seconds and the confirmation.
        let (gap, worst) = (outage.gap_ms.unwrap_or(0), outage.worst_ms.unwrap_or(0));
        let slack = 2_000 + 50 + 2 * interval + u64::from(fall + 2) * (timeout.max(fast) * 11 / 10 + 1) + 2 * timeout;
        prop_assert!(worst - gap <= slack, "{} of {}", gap, worst);
    }

    /// A script is text that people type.
    #[test]
    fn no_script_makes_it_panic(text in "((at|until|site|main|app|gate|switch|drain|host|slow|1m|30s|for|override|unfit|\\*|#|é|\u{0})[ \t\n]){0,40}") {
        let config = config(CHECK, STATELESS);
        if let Ok(script) = script::parse(&config.fleet, &text) {
            prop_assert!(script.until <= std::time::Duration::from_secs(86_400));
        }
    }
}
