# One image for the API, the workers, the migration and the simulated providers: they differ by the command.
FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM dependencies AS build
RUN npm ci
COPY . .
RUN npm run build && mkdir data

FROM node:24-slim
# tsx, which reads a configuration in TypeScript, would keep what it compiles.
ENV NODE_ENV=production TSX_DISABLE_CACHE=1
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
# For the simulated providers' books: a volume mounted there gets its owner.
COPY --from=build --chown=node:node /app/data data
COPY package.json ./
USER node
EXPOSE 3000
# Node itself is the first process, so that SIGTERM reaches it and not a shell: it finishes what runs, then ends.
CMD ["node", "--max-semi-space-size=64", "dist/src/main.js"]
