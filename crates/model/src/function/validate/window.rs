//! What must hold for a window. Source: `WindowConfigUtils.validate`, and `WindowFunctionExecutor` for late data.

use super::{Checks, Host};
use crate::function::{
    config::{FunctionConfig, Guarantees},
    window::WindowConfig,
};

impl Checks {
    pub(super) fn window(&mut self, config: &FunctionConfig, window: &WindowConfig) {
        self.length(window);
        for (field, what, value) in [
            ("windowLengthCount", "Window length", window.window_length_count.map(i64::from)),
            ("windowLengthDurationMs", "Window length", window.window_length_duration_ms),
            ("slidingIntervalCount", "Sliding interval", window.sliding_interval_count.map(i64::from)),
            ("slidingIntervalDurationMs", "Sliding interval", window.sliding_interval_duration_ms),
        ] {
            if let Some(value) = value.filter(|value| *value <= 0) {
                self.problems.add(format!("windowConfig.{field}"), format!("{what} must be positive [{value}]"));
            }
        }
        if window.timestamp_extractor_class_name.is_some() {
            if let Some(lag) = window.max_lag_ms.filter(|lag| *lag < 0) {
                self.problems.add("windowConfig.maxLagMs", format!("Lag duration must be positive [{lag}]"));
            }
            if let Some(interval) = window.watermark_emit_interval_ms.filter(|interval| *interval <= 0) {
                let message = format!("Watermark interval must be positive [{interval}]");
                self.problems.add("windowConfig.watermarkEmitIntervalMs", message);
            }
        }
        self.refuse_if(
            window.late_data_topic.is_some() && window.timestamp_extractor_class_name.is_none(),
            "windowConfig.lateDataTopic",
            "Late data topic can be defined only when specifying a timestamp extractor class",
        );
        self.topic("windowConfig.lateDataTopic", window.late_data_topic.as_deref(), |topic| {
            format!("Late data topic {topic} is invalid")
        });
        self.guarantees(config);
    }

    fn length(&mut self, window: &WindowConfig) {
        let (count, time) = (window.window_length_count, window.window_length_duration_ms);
        self.refuse_if(count.is_none() && time.is_none(), "windowConfig", "Window length is not specified");
        self.refuse_if(
            count.is_some() && time.is_some(),
            "windowConfig",
            "Window length for time and count are set! Please set one or the other.",
        );
        let (slide_count, slide_time) = (window.sliding_interval_count, window.sliding_interval_duration_ms);
        self.refuse_if(
            slide_count.is_some() && slide_time.is_some() && count.is_some() != time.is_some(),
            "windowConfig",
            "Sliding interval for time and count are set! Please set one or the other.",
        );
    }

    fn guarantees(&mut self, config: &FunctionConfig) {
        self.refuse_if(
            config.auto_ack == Some(true),
            "autoAck",
            "Cannot enable auto ack when using windowing functionality",
        );
        let excluded = match config.processing_guarantees {
            Some(Guarantees::Manual) => true,
            // Here a window is state, stored in the commit that acknowledges its elements.
            Some(Guarantees::EffectivelyOnce) => self.host == Host::Pulsar,
            Some(Guarantees::AtLeastOnce | Guarantees::AtMostOnce) | None => false,
        };
        if let Some(guarantees) = config.processing_guarantees.filter(|_| excluded) {
            let message = format!("Windows Function not support {} delivery semantics.", guarantees.name());
            self.problems.add("processingGuarantees", message);
        }
    }
}
