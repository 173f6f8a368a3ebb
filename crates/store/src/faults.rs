//! Faults that tests put into a store.

use std::sync::atomic::Ordering;

use super::Store;

impl Store {
    /// Lets the database grow by this number of pages: a disk that is nearly full. `None`: no limit.
    pub async fn limit_pages(&self, more: Option<u32>) {
        let limit = self.writer.run(move |db| {
            let pages: u32 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let max = more.map_or(u32::MAX - 1, |more| pages + more);
            Ok(db.query_row(&format!("PRAGMA max_page_count = {max}"), [], |_| Ok(()))?)
        });
        limit.await.expect("the database takes it");
    }

    /// From now on, or not any more, what is written to a table is refused.
    pub async fn refuse_writes(&self, table: &'static str, are_refused: bool) {
        let refuse = self.writer.run(move |db| {
            for event in ["INSERT", "UPDATE"] {
                let sql = match are_refused {
                    true => format!(
                        "CREATE TRIGGER refused_{event} BEFORE {event} ON {table} BEGIN SELECT raise(ABORT, 'refused'); END"
                    ),
                    false => format!("DROP TRIGGER refused_{event}"),
                };
                db.execute_batch(&sql)?;
            }
            Ok(())
        });
        refuse.await.expect("the database takes it");
    }

    /// A write has failed, and the next will, too; or no more.
    pub async fn break_writes(&self, is_broken: bool) {
        let sql = if is_broken {
            "ALTER TABLE probe RENAME TO gone"
        } else {
            "ALTER TABLE gone RENAME TO probe"
        };
        self.writer
            .run(move |db| Ok(db.execute_batch(sql)?))
            .await
            .expect("it works so far");
        self.vitals.is_failing.store(true, Ordering::Relaxed);
    }
}
