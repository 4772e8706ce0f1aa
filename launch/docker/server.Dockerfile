# Image of `capjax serve`: captions over HTTP.
#
#   docker build -f launch/docker/server.Dockerfile -t REPOSITORY/server:TAG .
#   docker run --read-only --tmpfs /tmp -v capjax-cache:/cache -v "$PWD/runs/mine:/model:ro" -p 8000:8000 \
#       REPOSITORY/server:TAG
#
# EXTRAS are extras of pyproject.toml: serve (CPU), serve,cuda or serve,tpu; also redis, heic, explain or export. Arguments
# after the image are those of `capjax serve` (default: --workdir captions=/model). /cache holds compiled programs and, unless --jobs says otherwise, the jobs of
# long videos. An image with the model in it, whose build context is the workdir:
#
#   printf 'FROM REPOSITORY/server:TAG\nCOPY . /model\n' | docker build -t REPOSITORY/mine:TAG -f - runs/mine
ARG PYTHON=3.11.13
FROM python:${PYTHON}-slim-bookworm
ARG EXTRAS=serve
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 CAPJAX_CACHE=/cache
WORKDIR /app

# With empty packages this layer depends on pyproject.toml only, and changes of the code do not rebuild it.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir capjax data_prep \
    && touch capjax/__init__.py data_prep/__init__.py \
    && python -m pip install --editable ".[${EXTRAS}]"

COPY configs configs
COPY data_prep data_prep
COPY capjax capjax

RUN useradd --create-home --uid 1000 capjax && mkdir /cache /model && chown 1000:1000 /cache
USER 1000:1000
VOLUME /cache
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["capjax", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--workdir", "captions=/model"]
