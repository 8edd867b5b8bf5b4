use super::fixture::{Place, Town, note};
use disbursement_api::pipeline::Mode;
use std::time::Instant;

fn cpu() -> (f64, f64) {
    let tick = |path: &str| -> f64 {
        let Ok(text) = std::fs::read_to_string(path) else { return 0.0 };
        let rest: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        (rest[11].parse::<f64>().unwrap() + rest[12].parse::<f64>().unwrap()) / 100.0
    };
    let mut pg = 0.0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmd = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if cmd.contains("ledger-1") || cmd.contains("safeconduct_service ledger-1") { pg += tick(&entry.path().join("stat").display().to_string()); }
    }
    (tick("/proc/self/stat"), pg)
}

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
        let (a, b) = cpu();
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
        let (c, d) = cpu();
        note(format_args!("cpu us each: own {:.0} pg {:.0}", (c - a) * 1e6 / count as f64, (d - b) * 1e6 / count as f64));
        note(format_args!("{inflight} in flight: {:.0}/s", count as f64 / began.elapsed().as_secs_f64()));
    }
    let batch: Vec<_> = (next..next + 10_000)
        .map(|n| {
            let b = town.request(&format!("d{n}"), &format!("case-{n}"));
            town.sign("prep1", b)
        })
        .collect();
    let (a, b) = cpu();
    let began = Instant::now();
    for part in batch.chunks(1000) {
        let s = town.pipeline.submit(part.iter().cloned().map(Ok).collect(), Mode::All).await.unwrap();
        assert!(s.checkpoint.is_some());
    }
    let (c, d) = cpu();
    note(format_args!("cpu us each: own {:.0} pg {:.0}", (c - a) * 1e6 / 1e4, (d - b) * 1e6 / 1e4));
    note(format_args!("batches of 1000: {:.0}/s", 10_000.0 / began.elapsed().as_secs_f64()));
    town.prove().await;
}
