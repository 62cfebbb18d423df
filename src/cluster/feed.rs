//! One watch that feeds the copies of a namespace, or those of many at once.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use kube::api::{ListParams, Request, WatchEvent, WatchParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::pulse::Pulse;
use super::resource_cache::ResourceCache;
use crate::client::error::{Call, ClusterError};

/// A watch that has said nothing for so long is not trusted: everything is listed anew. Servers
/// send a bookmark each minute, where there is nothing else to say.
const SILENCE: Duration = Duration::from_secs(80);
/// How long the beginning of an answer is waited for.
const OPENING: Duration = Duration::from_secs(30);
/// What the server is asked to end a watch after.
const LASTS: u32 = 290;
/// A watch that lasted so long did not end at once.
const STEADY: Duration = Duration::from_secs(30);
/// Above the size of any object that an API server stores.
const LONGEST_LINE: u64 = 16 << 20;
const PAGE: u32 = 500;
/// So many watches in a row that end at once are worth a line in the log.
const MANY: u32 = 8;

/// How often watches had to be taken up again, by resource and reason.
#[derive(Default)]
pub struct WatchEnds(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl WatchEnds {
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.0.lock().clone()
    }
}

/// What is read of each object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Whole,
    Metadata,
}

pub struct Feed<V> {
    call: Call,
    /// By namespace.
    caches: HashMap<String, Arc<ResourceCache<V>>>,
    pulse: Arc<Pulse>,
    ends: Arc<WatchEnds>,
    form: Form,
}

/// Why a watch has to be taken up again.
#[derive(Debug)]
enum End {
    /// By the server, as each does in the end.
    Over,
    /// The version is too old by now.
    TooOld,
    Silent,
    /// It did not begin, or the connection broke: what was missed is sent by the next one.
    Broken(ClusterError),
    /// It said what cannot be understood, or refused: what is known is not to be built upon.
    Odd(ClusterError),
    NoStreamingLists,
}

impl End {
    fn reason(&self) -> &'static str {
        match self {
            Self::Over | Self::NoStreamingLists => "ended",
            Self::TooOld => "too_old",
            Self::Silent => "silent",
            Self::Broken(_) => "broken",
            Self::Odd(_) => "not_understood",
        }
    }
}

impl<V: PartialEq + Send + Sync + 'static> Feed<V> {
    /// Of one namespace, or of the whole cluster, whose other namespaces are passed over.
    pub fn new(
        resource: &'static str,
        caches: HashMap<String, Arc<ResourceCache<V>>>,
        ends: Arc<WatchEnds>,
    ) -> Self {
        let namespace = match caches.len() {
            1 => caches.keys().next().cloned().unwrap_or_default(),
            _ => String::new(),
        };
        let pulse = Arc::new(Pulse::default());
        caches.values().for_each(|cache| cache.fed_by(&pulse));
        let call = Call::over("watch", resource, &namespace);
        Self { call, caches, pulse, ends, form: Form::Whole }
    }

    pub fn of_metadata(self) -> Self {
        Self { form: Form::Metadata, ..self }
    }

    /// Follows the watch for ever, but for a right that is missing to look at the whole cluster. An
    /// object that `convert` makes nothing of is left out.
    pub async fn follow<K>(self, api: Api<K>, convert: fn(&K) -> Option<V>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        // Where the server offers it, the list comes as a stream too, and neither side holds it
        // whole.
        let mut streaming = true;
        let mut version = None;
        let mut pauses = Pauses::default();
        loop {
            let began = Instant::now();
            let end = self.watch(&api, convert, &mut version, streaming).await;
            if matches!(end, End::NoStreamingLists) {
                tracing::debug!(call = %self.call, "this server lists by pages");
                (streaming, version) = (false, None);
                continue;
            }
            if self.is_of_cluster()
                && let End::Odd(error @ ClusterError::Forbidden { .. }) = &end
            {
                tracing::info!(%error, "each namespace is watched by itself");
                return;
            }
            if matches!(end, End::TooOld | End::Silent | End::Odd(_)) {
                version = None;
            }
            if began.elapsed() >= STEADY {
                pauses = Pauses::default();
            }
            *self.ends.0.lock().entry((self.call.resource, end.reason())).or_default() += 1;
            let pause = pauses.next();
            self.tell(&end, pauses.taken);
            if matches!(end, End::Over) && pauses.taken == 1 && began.elapsed() >= STEADY {
                continue;
            }
            sleep(MIN_BACKOFF.min(pause)).await;
            let rest = pause.saturating_sub(MIN_BACKOFF);
            tokio::select! {
                () = sleep(rest) => {}
                () = self.pulse.woken() => {}
            }
        }
    }

    fn is_of_cluster(&self) -> bool {
        self.call.namespace.is_empty()
    }

    /// To those who read the copies, and now and then in the log.
    fn tell(&self, end: &End, times: u32) {
        let fault = match end {
            End::Broken(fault) | End::Odd(fault) => fault,
            _ => {
                if times >= MANY && times.is_power_of_two() {
                    tracing::warn!(call = %self.call, times, reason = end.reason(),
                        "a watch ends at once, again and again");
                }
                return;
            }
        };
        if times.is_power_of_two() {
            tracing::warn!(error = %fault, times, "a watch is broken");
        }
        self.caches.values().for_each(|cache| cache.broken(&self.pulse, fault));
    }

    fn each(&self, what: impl Fn(&ResourceCache<V>)) {
        self.caches.values().for_each(|cache| what(cache));
    }

    fn of<K: Resource>(&self, object: &K) -> Option<&Arc<ResourceCache<V>>> {
        self.caches.get(object.meta().namespace.as_deref()?)
    }

    fn list_begins(&self) {
        self.each(|cache| cache.list_begins(&self.pulse));
    }

    fn listed<K: Resource>(&self, object: &K, convert: fn(&K) -> Option<V>) {
        if let (Some(cache), Some(name)) = (self.of(object), &object.meta().name) {
            cache.listed(&self.pulse, name, convert(object));
        }
    }

    fn list_ends(&self) {
        self.pulse.beat();
        self.each(|cache| cache.list_ends(&self.pulse));
    }

    fn changed<K: Resource>(&self, object: &K, value: Option<V>) {
        self.pulse.beat();
        if let (Some(cache), Some(name)) = (self.of(object), &object.meta().name) {
            cache.changed(&self.pulse, name, value);
        }
    }

    /// One list, unless it goes on from a version, and one watch to its end.
    async fn watch<K>(
        &self,
        api: &Api<K>,
        convert: fn(&K) -> Option<V>,
        version: &mut Option<String>,
        streaming: bool,
    ) -> End
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        // What has not been heard of for long is listed anew.
        let mut listing = version.is_none() || !self.pulse.is_fresh();
        if listing {
            *version = None;
            self.list_begins();
        }
        if listing && !streaming {
            match self.list(api, convert).await {
                Ok(listed) => (*version, listing) = (Some(listed), false),
                Err(error) => return self.unusable("list", error),
            }
        }
        let stream = match self.open(api, version.as_deref(), listing).await {
            Ok(stream) => stream,
            Err(error) if listing && offers_no_streaming_lists(&error) => {
                return End::NoStreamingLists;
            }
            Err(error) => return self.unusable("watch", error),
        };
        if !listing {
            self.each(|cache| cache.in_order(&self.pulse));
        }
        let mut stream = std::pin::pin!(stream);
        let mut line = Vec::new();
        loop {
            let event = match timeout(SILENCE, next_line(&mut stream, &mut line)).await {
                Err(_) => return End::Silent,
                Ok(Err(error)) => {
                    return End::Broken(self.fault(&kube::Error::ReadEvents(error)));
                }
                Ok(Ok(false)) => return End::Over,
                Ok(Ok(true)) => match serde_json::from_slice::<WatchEvent<K>>(&line) {
                    Ok(event) => event,
                    Err(error) => return self.odd(format!("a line of the watch: {error}")),
                },
            };
            match event {
                WatchEvent::Error(status) if status.code == 410 => return End::TooOld,
                WatchEvent::Error(status) => {
                    return End::Odd(self.fault(&kube::Error::Api(status)));
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.pulse.beat();
                    let ends_list =
                        bookmark.metadata.annotations.contains_key("k8s.io/initial-events-end");
                    if listing && !ends_list {
                        continue;
                    }
                    if listing {
                        listing = false;
                        self.list_ends();
                    }
                    *version = Some(bookmark.metadata.resource_version);
                }
                WatchEvent::Added(object) | WatchEvent::Modified(object) if listing => {
                    self.listed(&object, convert);
                }
                WatchEvent::Deleted(_) if listing => {
                    return self.odd("a deletion in a list".into());
                }
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let Some(reached) = object.meta().resource_version.clone() else {
                        return self.odd("an object without a version".into());
                    };
                    self.changed(&object, convert(&object));
                    *version = Some(reached);
                }
                WatchEvent::Deleted(object) => {
                    let Some(reached) = object.meta().resource_version.clone() else {
                        return self.odd("an object without a version".into());
                    };
                    self.changed(&object, None);
                    *version = Some(reached);
                }
            }
        }
    }

    /// By pages; returns the version that the watch goes on from.
    async fn list<K>(
        &self,
        api: &Api<K>,
        convert: fn(&K) -> Option<V>,
    ) -> Result<String, kube::Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let Ok(list) = timeout(OPENING, api.list(&page)).await else {
                return Err(no_answer());
            };
            let list = list?;
            list.items.iter().for_each(|object| self.listed(object, convert));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => {
                    self.list_ends();
                    return Ok(list.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    async fn open<K>(
        &self,
        api: &Api<K>,
        version: Option<&str>,
        listing: bool,
    ) -> Result<impl AsyncBufRead + use<K, V>, kube::Error>
    where
        K: Resource + Clone,
    {
        let params = WatchParams {
            bookmarks: true,
            send_initial_events: listing,
            timeout: Some(LASTS),
            ..WatchParams::default()
        };
        let request = Request::new(api.resource_url());
        let from = version.unwrap_or("0");
        let request = match self.form {
            Form::Whole => request.watch(&params, from),
            Form::Metadata => request.watch_metadata(&params, from),
        };
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        // Some servers compress each event by itself, which the client reads the first of.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let client = api.clone().into_client();
        let opened = timeout(OPENING, client.request_stream(request)).await;
        opened.unwrap_or_else(|_| Err(no_answer()))
    }

    fn odd(&self, message: String) -> End {
        End::Odd(ClusterError::Unavailable { call: self.call.clone(), message })
    }

    fn fault(&self, error: &kube::Error) -> ClusterError {
        ClusterError::from_kube(self.call.clone(), error)
    }

    fn unusable(&self, verb: &'static str, error: kube::Error) -> End {
        let call = Call { verb, ..self.call.clone() };
        match ClusterError::from_kube(call, &error) {
            _ if matches!(&error, kube::Error::Api(status) if status.code == 410) => End::TooOld,
            fault @ ClusterError::Unavailable { .. } => End::Broken(fault),
            fault => End::Odd(fault),
        }
    }
}

fn no_answer() -> kube::Error {
    kube::Error::Service("no answer".into())
}

/// Whether there is one; what is cut short at the end is sent again by the next watch.
async fn next_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    line.clear();
    stream.take(LONGEST_LINE).read_until(b'\n', line).await?;
    match line.last() {
        Some(b'\n') => Ok(true),
        Some(_) if line.len() as u64 == LONGEST_LINE => Ok(true),
        _ => Ok(false),
    }
}

/// Before 1.34 they are off unless asked for.
fn offers_no_streaming_lists(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 422 && status.message.contains("sendInitialEvents")
}

const MIN_BACKOFF: Duration = Duration::from_millis(400);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Doubling pauses between attempts to watch, with a little jitter so that watches do not come back
/// in step.
#[derive(Default)]
struct Pauses {
    taken: u32,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = MIN_BACKOFF * 2u32.saturating_pow(self.taken.min(16));
        self.taken = self.taken.saturating_add(1);
        pause.min(MAX_BACKOFF).mul_f64(rand::random_range(1.0..1.4))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::SeqCst;

    use k8s_openapi::api::core::v1::LimitRange;
    use kube::Client;
    use kube::client::Body;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    #[test]
    fn pauses_grow_to_an_end() {
        let mut pauses = Pauses::default();
        let all: Vec<_> = (0..40).map(|_| pauses.next()).collect();
        assert!(all[0] < Duration::from_secs(1) && all[1] > MIN_BACKOFF * 3 / 2, "{all:?}");
        assert!(all.iter().all(|pause| *pause <= MAX_BACKOFF * 14 / 10), "{all:?}");
        assert!(all.iter().skip(8).all(|pause| *pause >= MAX_BACKOFF), "{all:?}");
    }

    const LIST: &str = r#"{"kind":"LimitRangeList","apiVersion":"v1",
        "metadata":{"resourceVersion":"7"},"items":[
        {"metadata":{"name":"NAME","namespace":"shop","resourceVersion":"7"}}]}"#;

    /// Lists one object, called after how many lists there were, and answers each watch alike.
    struct Server {
        lists: Arc<AtomicU32>,
        watches: Arc<AtomicU32>,
        cache: Arc<ResourceCache<u8>>,
        ends: Arc<WatchEnds>,
        _task: AbortOnDropHandle<()>,
    }

    fn serve(watch: &'static str) -> Server {
        let (lists, watches) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counts = (lists.clone(), watches.clone());
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let query = request.uri().query().unwrap_or_default();
            let (code, body) = if query.contains("sendInitialEvents") {
                let message = r#"{"kind":"Status","code":422,"message":"sendInitialEvents: no"}"#;
                (422, message.to_owned())
            } else if query.contains("watch=true") {
                counts.1.fetch_add(1, SeqCst);
                (200, watch.to_owned())
            } else {
                let name = format!("n{}", counts.0.fetch_add(1, SeqCst) + 1);
                (200, LIST.replace("NAME", &name))
            };
            let answer = http::Response::builder().status(code).body(Body::from(body.into_bytes()));
            async move { answer }
        });
        let client = Client::new(server, "shop");
        let cache = Arc::new(ResourceCache::new("limitranges", "shop"));
        let ends = Arc::<WatchEnds>::default();
        let caches = HashMap::from([("shop".to_owned(), cache.clone())]);
        let feed = Feed::new("limitranges", caches, ends.clone());
        let api = Api::<LimitRange>::namespaced(client, "shop");
        let _task = AbortOnDropHandle::new(tokio::spawn(feed.follow(api, |_| Some(1))));
        Server { lists, watches, cache, ends, _task }
    }

    async fn until(what: impl Fn() -> bool) {
        let reached = async {
            while !what() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), reached).await.unwrap();
    }

    #[tokio::test]
    async fn a_watch_that_ends_at_once_is_asked_for_ever_less_often() {
        let server = serve("");
        sleep(Duration::from_secs(3)).await;
        let asked = server.watches.load(SeqCst);
        assert!((2..=4).contains(&asked), "{asked}");
        assert_eq!(server.lists.load(SeqCst), 1, "nothing was missed");
        let counted = server.ends.counts()[&("limitranges", "ended")];
        assert!(counted + 1 >= u64::from(asked), "{counted}");
    }

    #[tokio::test]
    async fn what_is_not_understood_is_followed_by_a_new_list() {
        for line in [
            "words\n",
            "{\"type\":\"ADDED\",\"obj\n",
            "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":7}}}\n",
            "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"x\"}}}\n",
            "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"etcd\"}}\n",
            "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"old\"}}\n",
        ] {
            let server = serve(line);
            until(|| server.lists.load(SeqCst) > 1 && server.cache.known().contains_key("n2"))
                .await;
            let known = server.cache.known();
            assert!(known.len() == 1 && !known.contains_key("n1"), "{line}: {known:?}");
        }
    }

    #[tokio::test]
    async fn half_a_line_at_the_end_is_sent_again() {
        let server = serve(
            "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b\",\"namespace\":\"shop\",\
             \"resourceVersion\":\"8\"}}}\n{\"type\":\"DELE",
        );
        until(|| server.watches.load(SeqCst) > 1).await;
        assert_eq!(server.lists.load(SeqCst), 1);
        assert!(server.cache.known().contains_key("b") && server.cache.fault().is_none());
    }

    #[tokio::test]
    async fn a_line_has_an_end_and_half_a_line_is_none() {
        let mut stream = futures::io::Cursor::new(b"one\ntwo".to_vec());
        let mut line = Vec::new();
        assert!(next_line(&mut stream, &mut line).await.unwrap());
        assert_eq!(line, b"one\n");
        assert!(!next_line(&mut stream, &mut line).await.unwrap());
    }
}
