//! A device whose every run takes a while and no core: a busy GPU, as a guest sees it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use trommel::Host;
use trommel_tensor::{
    CpuDevice, CpuOptions, Device, Dtype, Graph, Preparation, Run, Session, Storage, Tensor,
    TensorError,
};
use trommel_tests::plugin::PluginFolder;

use super::{TENSORS, assert_degraded, assert_judged_normally, check};

#[derive(Debug)]
struct SlowDevice(Arc<dyn Device>);

impl Device for SlowDevice {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn upload(
        &self,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Arc<dyn Storage>, TensorError> {
        self.0.upload(dtype, shape, bytes)
    }

    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError> {
        Ok(Arc::new(SlowSession(self.0.session(graph)?)))
    }

    fn prepare(&self, work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>> {
        self.0.prepare(work)
    }
}

#[derive(Debug)]
struct SlowSession(Arc<dyn Session>);

impl Session for SlowSession {
    fn graph(&self) -> &Arc<Graph> {
        self.0.graph()
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        let inner = self.0.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            inner.run(run).await
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_guest_that_runs_models_forever_is_to_blame_while_it_waits_too() {
    let folder = PluginFolder::of_guest("runs-models-forever", &TENSORS);
    folder.edit("deadline-ms = 200", "deadline-ms = 1500");
    let device = CpuDevice::new(&CpuOptions::default()).expect("threads");
    let host = Host::builder()
        .device(Arc::new(SlowDevice(Arc::new(device))))
        .detector(folder.path())
        .build()
        .expect("the guest loads");
    assert_degraded(&check(&host, "please misbehave").await, "had run models ");
    assert_judged_normally(&check(&host, "be good").await);
}
