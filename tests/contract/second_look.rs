//! Between two cycles: what is near its limit is looked at where it runs.

use dqn_scaler::client::kubelet::KubeletClient;
use dqn_scaler::service::second_look;
use dqn_scaler::sim::api::server;
use dqn_scaler::sim::node::Kubelet;

use super::safety::*;
use super::*;

/// After the first cycle there is none for an hour, and nothing is asked for but kubelets.
fn patient() -> Config {
    let dry_run = false;
    let config = Config { dry_run, auto_scale_interval: 3600, ..Config::default() };
    Config { second_look_interval_metrics: 0, ..config }
}

/// A service that also looks between cycles, after its first cycle.
async fn looking(
    simulation: &Arc<Simulation>,
    config: Config,
    connection: (kube::Client, KubeletClient),
) -> Service {
    let (clock, leadership) = (*simulation.clock(), Leadership::alone());
    let network = network_of_utilization();
    let (state, events) = state_of(&network, config, clock, leadership);
    let look = second_look(&state).run(state.stopping.clone());
    let service = Service::run((state, events)).await;
    service.state.connected_to(connection.0, Some(connection.1));
    tokio::spawn(look);
    until("the first cycle", async || decisions(&service).await > 0).await;
    service
}

fn in_process(simulation: &Arc<Simulation>) -> (kube::Client, KubeletClient) {
    (simulation.client(), KubeletClient::over(simulation.kubelets()))
}

async fn decisions(service: &Service) -> u64 {
    let (_, statistics) = service.get("/statistics").await;
    statistics["statistics"]["overview"]["total_decisions"].as_u64().unwrap()
}

fn quiet_pods(names: &[&str]) -> impl FnOnce(&mut World) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    move |world| {
        for name in names {
            add_pod(world, &name, json!({"containers": [container("app", half())]}), 0.1, 100.0);
        }
    }
}

fn asked_kubelets(simulation: &Simulation) -> usize {
    let requests = simulation.faults().log.requests();
    requests.iter().filter(|request| request.path == "/metrics/resource").count()
}

fn node_of(simulation: &Simulation, name: &str) -> String {
    pod(simulation, name)["spec"]["nodeName"].as_str().unwrap().to_owned()
}

/// Of `get` on `nodes/metrics`.
fn fault(effect: Effect) -> Rule {
    Rule::new(effect).on("get", "nodes/metrics")
}

#[tokio::test]
async fn a_load_that_jumps_after_a_cycle_does_not_wait_for_the_next() {
    let simulation = cluster(quiet_pods(&["web", "idle"]));
    let service = looking(&simulation, patient(), in_process(&simulation)).await;
    for (times, cpu) in [("threefold", 1.4), ("threefold again", 4.0)] {
        let began = simulation.world().now;
        load(&simulation, "web", cpu, 100.0);
        until(times, async || limit_of(&simulation, "web").cpu >= cpu).await;
        eprintln!("{times}: served after {:.1} s", simulation.world().now - began);
    }
    assert_eq!(status_of(&simulation, "web")["restartCount"], 0);
    assert_eq!(limit_of(&simulation, "idle"), PerResource::new(0.5, 512.0));
    let metrics = service.send(Method::GET, "/metrics").await.text().await.unwrap();
    assert!(metrics.contains("kubelet_request_duration_seconds_count{result=\"answered\"}"));
}

#[tokio::test]
async fn memory_that_grows_between_two_cycles_finds_a_larger_limit() {
    let simulation = cluster(quiet_pods(&["web"]));
    let _service = looking(&simulation, patient(), in_process(&simulation)).await;
    for memory in [470.0, 500.0, 550.0] {
        let before = limit_of(&simulation, "web").memory;
        load(&simulation, "web", 0.1, memory);
        until("there is room", async || limit_of(&simulation, "web").memory > memory * 1.1).await;
        assert!(limit_of(&simulation, "web").memory >= before);
    }
    assert_eq!(status_of(&simulation, "web")["restartCount"], 0);
}

#[tokio::test]
async fn what_was_killed_for_memory_gets_more_before_the_next_cycle() {
    let simulation = cluster(quiet_pods(&["web"]));
    simulation.faults().add(fault(Effect::Hang));
    let _service = looking(&simulation, patient(), in_process(&simulation)).await;
    kill(&simulation, "web").await;
    until("it gets more", async || limit_of(&simulation, "web").memory > 512.0).await;
}

#[tokio::test]
async fn what_was_killed_while_it_was_being_resized_gets_more_after_that() {
    let simulation = cluster(quiet_pods(&["web"]));
    let config = Config { resize_timeout: 60, ..patient() };
    let _service = looking(&simulation, config, in_process(&simulation)).await;
    let node = node_of(&simulation, "web");
    simulation.world().set_kubelet(&node, Kubelet::Slow { seconds: 30.0 });
    load(&simulation, "web", 1.0, 100.0);
    until("a resize is asked for", async || limit_of(&simulation, "web").cpu > 0.5).await;
    // No kubelet tells of it any more.
    simulation.faults().add(fault(Effect::Hang));
    kill(&simulation, "web").await;
    until("it gets more", async || limit_of(&simulation, "web").memory > 512.0).await;
}

#[tokio::test]
async fn a_silent_kubelet_costs_only_its_own_pods_and_is_asked_again() {
    let names = ["a", "b", "c", "d"];
    let simulation = cluster(|world| {
        add_nodes(world, 3, 8.0, 16.0);
        quiet_pods(&names)(world);
    });
    let silent = node_of(&simulation, "a");
    simulation.faults().add(Rule { name: Some(silent.clone()), ..fault(Effect::Hang) });
    let _service = looking(&simulation, patient(), in_process(&simulation)).await;
    let others: Vec<_> = names.iter().filter(|pod| node_of(&simulation, pod) != silent).collect();
    assert!(!others.is_empty());
    for name in names {
        load(&simulation, name, 1.0, 100.0);
    }
    for other in others {
        until("the others are served", async || limit_of(&simulation, other).cpu >= 1.0).await;
    }
    assert_eq!(limit_of(&simulation, "a").cpu, 0.5);
    simulation.faults().replace(Vec::new());
    until("it is asked again", async || limit_of(&simulation, "a").cpu >= 1.0).await;
}

#[tokio::test]
async fn without_the_right_metrics_k8s_io_is_asked_instead() {
    let simulation = cluster(quiet_pods(&["web"]));
    let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
    simulation.faults().add(fault(forbidden));
    load(&simulation, "web", 0.45, 100.0);
    pass(&simulation, 20.0).await;
    let config = Config { second_look_interval_metrics: 10, ..patient() };
    let _service = looking(&simulation, config, in_process(&simulation)).await;
    // It is full when the cycle sees it.
    load(&simulation, "web", 1.0, 100.0);
    until("it is served", async || limit_of(&simulation, "web").cpu >= 1.0).await;
    assert_eq!(asked_kubelets(&simulation), 1, "it is not asked again for a while");
}

#[tokio::test]
async fn an_interval_of_nought_switches_it_off() {
    let simulation = cluster(quiet_pods(&["web"]));
    let config = Config { second_look_interval: 0, second_look_interval_metrics: 1, ..patient() };
    let _service = looking(&simulation, config, in_process(&simulation)).await;
    load(&simulation, "web", 1.0, 100.0);
    pass(&simulation, 60.0).await;
    assert_eq!((limit_of(&simulation, "web").cpu, asked_kubelets(&simulation)), (0.5, 0));
}

#[tokio::test]
async fn dry_run_changes_nothing_and_looks_fill_no_journal() {
    let simulation = cluster(quiet_pods(&["web"]));
    let config = Config { dry_run: true, ..patient() };
    let service = looking(&simulation, config, in_process(&simulation)).await;
    load(&simulation, "web", 1.0, 100.0);
    pass(&simulation, 60.0).await;
    assert!(asked_kubelets(&simulation) > 5);
    assert_eq!((limit_of(&simulation, "web").cpu, decisions(&service).await), (0.5, 1));
}

#[tokio::test]
async fn kubelets_are_found_by_the_addresses_of_their_nodes() {
    let simulation = cluster(quiet_pods(&["web"]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(server::serve(simulation.clone(), listener));
    let config = kube::Config::new(url.parse().unwrap());
    let kubelets = KubeletClient::new(&config, false).unwrap();
    let connection = (kube::Client::try_from(config).unwrap(), kubelets);
    let _service = looking(&simulation, patient(), connection).await;
    load(&simulation, "web", 1.0, 100.0);
    until("it is served", async || limit_of(&simulation, "web").cpu >= 1.0).await;
    serving.abort();
}
