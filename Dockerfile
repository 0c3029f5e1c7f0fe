# The image for a cluster: docker build -t registry.example.org/latentmill:0.1.0 .
# Ray's version is the one in constraints.txt; on machines without GPUs, --build-arg BASE=rayproject/ray:2.60.0-py311 is smaller.
ARG BASE=rayproject/ray:2.60.0-py311-gpu
FROM ${BASE}

COPY --chown=ray:users . /tmp/latentmill
RUN pip install --no-cache-dir --constraint /tmp/latentmill/constraints.txt '/tmp/latentmill[c2pa,s3,gcs,lance,conditions,safety,video,weighting,scores,lpips]' \
    && rm -rf /tmp/latentmill
