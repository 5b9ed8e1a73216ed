# The snapshotter as an image, for docs/kubernetes/daemonset.yaml:  buildah build -t peel:0.1.0 .
# Both bases are Debian 12 with Node 20.19 or newer, the first with npm; scripts/container-image.sh makes one where no
# registry can be reached.
ARG BUILD=docker.io/library/node:22-bookworm
ARG BASE=docker.io/library/node:22-bookworm-slim

FROM ${BUILD} AS build
RUN apt-get update -q \
 && apt-get install -q -y --no-install-recommends g++ make python3 libzstd-dev liblzma-dev libbz2-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN npm install --no-save && npm run build && npm prune --omit=dev

FROM ${BASE}
COPY --from=build /src/package.json /src/LICENSE /opt/peel/
COPY --from=build /src/build/Release/peel.node /opt/peel/build/Release/
COPY --from=build /src/node_modules /opt/peel/node_modules
COPY --from=build /src/dist /opt/peel/dist
RUN ln -s /opt/peel/dist/cli/main.js /usr/local/bin/peel
ENTRYPOINT ["/usr/local/bin/peel"]
CMD ["help"]
