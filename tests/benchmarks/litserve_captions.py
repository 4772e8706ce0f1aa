"""Captions by LitServe, the peer of `bench_serve.py`: litserve_captions.py WORKDIR PHOTOS PORT DECODING_OPTIONS."""

import json
import sys
from pathlib import Path

import litserve


class Captions(litserve.LitAPI):
    """Captions uploaded photos in batches of up to 32."""

    def setup(self, device):
        from capjax import runtime

        runtime.start()
        import capjax

        workdir, photos, _, decode = sys.argv[1:]
        self.model = capjax.load(workdir, **json.loads(decode))
        files = sorted(Path(photos).glob("*.jpg"))
        for size in (1, 8, 32):  # all that `Predictor.caption` pads to
            self.model.caption(files[:size])

    def decode_request(self, request):
        return request["file"].file.read()

    def predict(self, batch):
        return [caption.text for caption in self.model.caption(batch)]

    def encode_response(self, output):
        return {"caption": output}


if __name__ == "__main__":
    server = litserve.LitServer(Captions(max_batch_size=32, batch_timeout=0.005), accelerator="cpu", timeout=120)
    server.run(port=int(sys.argv[3]), generate_client_file=False, log_level="error")
