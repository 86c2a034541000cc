//! How inputs are gathered into windows.

use super::record::{choice, record};

choice! {
    /// What a window promises; the function below it acknowledges by hand.
    pub enum WindowGuarantees {
        /// Acknowledged when the window that holds a message was handled.
        AtLeastOnce = "ATLEAST_ONCE",
        /// Acknowledged on arrival.
        AtMostOnce = "ATMOST_ONCE",
    }
}

record! {
    /// How inputs are gathered into windows: by count or by time. Source: Pulsar's `WindowConfig`.
    pub struct WindowConfig {
        /// Messages of a window.
        window_length_count: "windowLengthCount" => Option<i32>,
        /// Milliseconds of a window.
        window_length_duration_ms: "windowLengthDurationMs" => Option<i64>,
        /// Messages from the start of one window to the next; absent, windows tumble.
        sliding_interval_count: "slidingIntervalCount" => Option<i32>,
        /// Milliseconds from the start of one window to the next; absent, windows tumble.
        sliding_interval_duration_ms: "slidingIntervalDurationMs" => Option<i64>,
        /// Topic of messages that come behind the watermark.
        late_data_topic: "lateDataTopic" => Option<String>,
        /// Milliseconds the watermark stays behind the newest event time.
        max_lag_ms: "maxLagMs" => Option<i64>,
        /// Milliseconds from one watermark to the next.
        watermark_emit_interval_ms: "watermarkEmitIntervalMs" => Option<i64>,
        /// The class that takes the event time out of a message; absent, time is that of arrival.
        timestamp_extractor_class_name: "timestampExtractorClassName" => Option<String>,
        /// The user's class, where the function's is the executor of windows.
        actual_window_function_class_name: "actualWindowFunctionClassName" => Option<String>,
        /// What the window promises.
        processing_guarantees: "processingGuarantees" => Option<WindowGuarantees>,
    }
}
