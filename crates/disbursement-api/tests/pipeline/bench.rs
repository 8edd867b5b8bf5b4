use super::fixture::{Place, Town, note};
use disbursement_api::pipeline::Mode;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn throughput() {
    let place = Place::new().await;
    let cases = 30_000;
    let town = Town::funded(place.clone(), "200000000.00", cases).await;
    let mut next = 0;
    for inflight in [1usize, 8, 32, 256] {
        let count = (inflight * 100).clamp(500, 12_000);
        let envelopes: Vec<_> = (next..next + count)
            .map(|n| {
                let b = town.request(&format!("d{n}"), &format!("case-{n}"));
                town.sign("prep1", b)
            })
            .collect();
        next += count;
        let began = Instant::now();
        let queue = std::sync::Arc::new(std::sync::Mutex::new(envelopes));
        let tasks: Vec<_> = (0..inflight)
            .map(|_| {
                let (queue, pipeline) = (queue.clone(), town.pipeline.clone());
                tokio::spawn(async move {
                    loop {
                        let Some(one) = queue.lock().unwrap().pop() else { break };
                        let s = pipeline.submit(vec![Ok(one)], Mode::Each).await.unwrap();
                        assert!(s.checkpoint.is_some());
                    }
                })
            })
            .collect();
        for t in tasks {
            t.await.unwrap();
        }
        note(format_args!("{inflight} in flight: {:.0}/s", count as f64 / began.elapsed().as_secs_f64()));
    }
    let batch: Vec<_> = (next..next + 10_000)
        .map(|n| {
            let b = town.request(&format!("d{n}"), &format!("case-{n}"));
            town.sign("prep1", b)
        })
        .collect();
    let began = Instant::now();
    for part in batch.chunks(1000) {
        let s = town.pipeline.submit(part.iter().cloned().map(Ok).collect(), Mode::All).await.unwrap();
        assert!(s.checkpoint.is_some());
    }
    note(format_args!("batches of 1000: {:.0}/s", 10_000.0 / began.elapsed().as_secs_f64()));
    town.prove().await;
}
