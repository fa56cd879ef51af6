-- The tables that drupal7.php uses, with the columns, keys and collations that matter to it.
DROP TABLE IF EXISTS `cache_bootstrap`, `cache_page`, `node`, `node_revision`, `semaphore`, `sequences`, `sessions`, `users`, `variable`, `watchdog`;
CREATE TABLE `cache_bootstrap` (`cid` varchar(255) NOT NULL, `data` longblob, `expire` int NOT NULL, `created` int NOT NULL, `serialized` smallint NOT NULL, PRIMARY KEY (`cid`), KEY `expire` (`expire`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE TABLE `cache_page` LIKE `cache_bootstrap`;
CREATE TABLE `node` (`nid` int unsigned NOT NULL AUTO_INCREMENT, `vid` int unsigned DEFAULT NULL, `type` varchar(32) NOT NULL, `language` varchar(12) NOT NULL DEFAULT '', `title` varchar(255) NOT NULL, `uid` int NOT NULL, `status` int NOT NULL DEFAULT 1, `created` int NOT NULL, `changed` int NOT NULL DEFAULT 0, PRIMARY KEY (`nid`), UNIQUE KEY `vid` (`vid`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci AUTO_INCREMENT=216;
CREATE TABLE `node_revision` (`nid` int unsigned NOT NULL, `vid` int unsigned NOT NULL AUTO_INCREMENT, `uid` int NOT NULL, `title` varchar(255) NOT NULL, `log` longtext NOT NULL, `timestamp` int NOT NULL, PRIMARY KEY (`vid`), KEY `nid` (`nid`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci AUTO_INCREMENT=301;
CREATE TABLE `semaphore` (`name` varchar(255) NOT NULL, `value` varchar(255) NOT NULL, `expire` double NOT NULL, PRIMARY KEY (`name`), KEY `value` (`value`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE TABLE `sequences` (`value` int unsigned NOT NULL AUTO_INCREMENT, PRIMARY KEY (`value`)) AUTO_INCREMENT=17;
CREATE TABLE `sessions` (`uid` int unsigned NOT NULL, `sid` varchar(128) NOT NULL, `ssid` varchar(128) NOT NULL, `hostname` varchar(128) NOT NULL, `timestamp` int NOT NULL, `cache` int NOT NULL, `session` longblob, PRIMARY KEY (`sid`, `ssid`), KEY `uid` (`uid`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE TABLE `users` (`uid` int unsigned NOT NULL, `name` varchar(60) NOT NULL, `pass` varchar(128) NOT NULL, `status` tinyint NOT NULL, `login` int NOT NULL DEFAULT 0, PRIMARY KEY (`uid`), UNIQUE KEY `name` (`name`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE TABLE `variable` (`name` varchar(128) NOT NULL, `value` longblob NOT NULL, PRIMARY KEY (`name`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE TABLE `watchdog` (`wid` int NOT NULL AUTO_INCREMENT, `uid` int NOT NULL, `type` varchar(64) NOT NULL, `message` longtext NOT NULL, `timestamp` int NOT NULL, PRIMARY KEY (`wid`)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
INSERT INTO `users` (`uid`, `name`, `pass`, `status`) VALUES (0, '', '', 0), (1, 'admin', '$S$one', 1), (2, 'edi_tor', '$S$two', 1), (3, 'Zoë', '$S$three', 1);
INSERT INTO `variable` VALUES ('cache', 'i:1;'), ('site_name', 's:4:"Site";'), ('slogan', 's:7:"It''s 🜁";');
INSERT INTO `node` (`nid`, `vid`, `type`, `title`, `uid`, `created`) VALUES (1, 1, 'page', 'About', 1, 1795370000), (2, 2, 'article', 'Traced before', 2, 1795370001);
INSERT INTO `node_revision` VALUES (1, 1, 1, 'About', '', 1795370000), (2, 2, 2, 'Traced before', '', 1795370001);
