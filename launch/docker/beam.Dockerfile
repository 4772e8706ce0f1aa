# Image for Apache Beam workers that build records: python -m data_prep NAME ... --beam --runner=... with
# --environment_config=IMAGE (Flink, Spark) or --sdk_container_image=IMAGE (Dataflow).
#
#   docker build -f launch/docker/beam.Dockerfile -t REPOSITORY/capjax-beam:TAG .
#
# BEAM must be the version that the command runs with. The user stays that of Beam's image, whose folders runners mount.
ARG BEAM=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM}
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
RUN mkdir capjax data_prep \
    && touch capjax/__init__.py data_prep/__init__.py \
    && python -m pip install --no-cache-dir --editable ".[beam]"
COPY data_prep data_prep
COPY capjax capjax
